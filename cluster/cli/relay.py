"""`atalaia relay`: the process between the media gateway and the cameras, where it runs alone."""

from __future__ import annotations

import asyncio

from cluster.cli.common import settings


def relay() -> None:
    """Run the camera relay until it is stopped. `atalaia up` starts one where it starts the
    gateway; next to a gateway of your own, start this.

    It needs gateway.secret, and the addresses of the other services so that it can refuse them. It
    needs no password of any of them.
    """
    from cluster.core.log import configure_logging
    from cluster.relay.__main__ import run
    from cluster.relay.server import RelayConfig

    chosen = settings()
    config = RelayConfig.of(chosen)
    configure_logging(chosen.log)
    asyncio.run(run(config))
