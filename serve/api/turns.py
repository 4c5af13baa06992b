"""Turns of reads that look at very many rows: so many at once, the others wait.

Each of them keeps a connection to the database busy, of which a replica has 15. Without turns one
tenant that asks for all of them at once stops every other one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve.api.problems import TooManyRequestsError
from serve.api.slots import Slots

MAX_READS = 6
MAX_READS_PER_TENANT = 2
# The longest read of ours, 92 days of one camera, takes a second on two busy cores.
WAIT_S = 10.0


class HeavyReads:
    """Counts the heavy reads under way, of all and of each tenant. For one event loop.

    Args:
        wait_s: how long one waits for its turn.
    """

    def __init__(
        self,
        total: int = MAX_READS,
        per_tenant: int = MAX_READS_PER_TENANT,
        wait_s: float = WAIT_S,
    ) -> None:
        self._slots = Slots(total, per_tenant)
        self._freed = asyncio.Event()
        self._wait_s = wait_s

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """One of them for the length of the block. Raises TooManyRequestsError: it did not get one
        in time."""
        await self._take(tenant)
        try:
            yield
        finally:
            self._slots.give_back(tenant)
            self._freed.set()
            self._freed = asyncio.Event()

    async def _take(self, tenant: str) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                while not self._slots.has_room(tenant):
                    await self._freed.wait()
            self._slots.take(tenant)
        except TimeoutError:
            raise TooManyRequestsError(
                "As many reads of this size as there may be at once are under way.",
                hint="Ask for less time, or for one camera, and for one answer after the other.",
                retry_after_s=10,
            ) from None
