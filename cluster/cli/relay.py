"""`atalaia relay`: runs the relay between the media gateway and the cameras by itself."""

from __future__ import annotations

import asyncio

from cluster.cli.common import settings


def relay() -> None:
    """Run the camera relay until it is stopped. `atalaia up` starts one together with a managed
    gateway; use this command next to a gateway of your own.

    It needs gateway.secret, and the addresses of the other services so that it can block them. It
    needs none of their passwords.
    """
    from cluster.core.log import configure_logging
    from cluster.relay.__main__ import run
    from cluster.relay.server import RelayConfig

    chosen = settings()
    config = RelayConfig.of(chosen)
    configure_logging(chosen.log)
    asyncio.run(run(config))
