"""`atalaia env`: what Ray's own commands need in a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cluster.cli.common import out, settings
from cluster.core.settings import Settings
from cluster.local.ray_head import LOOPBACK, RAY_ENVIRONMENT, own_python
from pipelines.errors import ConfigError


def exports(chosen: Settings) -> Iterator[str]:
    """Lines for a POSIX shell.

    Raises:
        ConfigError: the cluster is somebody else's, who alone knows where its dashboard is.
    """
    if chosen.ray.address is not None:
        raise ConfigError(
            f"ray.address is {chosen.ray.address}: its dashboard's address is not known here.",
            hint="Set RAY_API_SERVER_ADDRESS to it, and RAY_AUTH_MODE and RAY_AUTH_TOKEN as there.",
        )
    yield f"export RAY_AUTH_MODE={RAY_ENVIRONMENT['RAY_AUTH_MODE']}"
    yield f"export RAY_API_SERVER_ADDRESS=http://{LOOPBACK}:{chosen.ray.dashboard_port}"
    yield f'export PATH={shlex.quote(own_python())}:"$PATH"'


def env() -> None:
    """Print what `ray` needs in your shell to reach this machine's cluster: eval "$(atalaia env)".

    The token itself is not among it: Ray keeps it in ~/.ray/auth_token.
    """
    for line in exports(settings()):
        out().print(line, markup=False)
