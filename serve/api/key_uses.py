"""Remembers when keys were used, and writes it now and then: no request waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from cluster.core.log import get_logger
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError

INTERVAL_S = 60.0

Write = Callable[[Mapping[str, int]], Awaitable[None]]
"""Keeps times, UTC microseconds, by id of the key."""

log = get_logger("api")


class KeyUses:
    """Owned by the application. Holds one entry per key that was used since the last write."""

    def __init__(self, write: Write, clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._uses: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, key_id: str) -> None:
        """A key was used now."""
        self._uses[key_id] = self._clock.now_us()

    def start(self) -> None:
        """Begin to write; in the event loop that serves the requests."""
        self._task = asyncio.create_task(self._write_on(), name="uses of keys")

    async def aclose(self) -> None:
        """Write what was noted. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.flush()

    async def flush(self) -> None:
        """Write what was noted. What cannot be written is kept for the next time."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._write(uses)
        except AtalaiaError as error:
            log.warning("last use of keys not written", error=str(error))
            self._uses = uses | self._uses
        except Exception:  # the top of this task: what the database will never take is let go
            log.exception("last use of keys not written")

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.flush()
