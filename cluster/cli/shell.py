"""`atalaia env`: the shell environment for Ray's own commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cluster.cli.common import out, settings
from cluster.core.settings import Settings
from cluster.local.ray_head import LOOPBACK, RAY_ENVIRONMENT, own_python
from pipelines.errors import ConfigError


def exports(chosen: Settings) -> Iterator[str]:
    """`export` lines for a POSIX shell.

    Raises:
        ConfigError: the cluster is not managed, so its dashboard's address is unknown.
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
    """Print the environment with which `ray` reaches this machine's cluster: eval "$(atalaia env)".

    The token is not included: Ray keeps it in ~/.ray/auth_token.
    """
    for line in exports(settings()):
        out().print(line, markup=False)
