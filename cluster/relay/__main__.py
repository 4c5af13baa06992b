"""`python -m cluster.relay FILE`: run the relay until SIGINT or SIGTERM.

FILE holds a RelayConfig as JSON, written by the local stack. `atalaia relay` runs the relay from
the settings instead.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from cluster.core.log import configure_logging, get_logger
from cluster.core.settings import LogSettings
from cluster.relay.server import RelayConfig, RelayServer
from pipelines.errors import AtalaiaError, ConfigError

log = get_logger("relay")


async def run(config: RelayConfig) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: the relay cannot listen on the configured address and port.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = RelayServer(config)
    try:
        await server.start()
    except OSError as error:
        raise ConfigError(
            f"the relay cannot listen on {config.bind}:{config.port}: {error.strerror}.",
            hint="Set gateway.relay_bind and gateway.relay_url to a free address and port on this "
            "machine.",
        ) from error
    log.info("relay listens", bind=config.bind, port=config.port)
    try:
        await stop.wait()
    finally:
        await server.aclose()


def main(arguments: list[str]) -> int:
    config = RelayConfig.model_validate_json(Path(arguments[0]).read_text("utf-8"))
    configure_logging(LogSettings(level=config.log_level))
    try:
        asyncio.run(run(config))
    except AtalaiaError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- the command's own error output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
