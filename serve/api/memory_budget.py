"""A number of bytes that tasks share, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque


class MemoryBudget:
    """Hands out shares of `total` bytes, in the order of the requests.

    A large share is not overtaken by small ones, so it comes; those behind it wait.
    How many may wait is for the caller to bound. For one event loop, and not for threads.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """Bytes that are free."""
        return self._free

    async def acquire(self, size: int) -> None:
        """Wait for `size` bytes and take them; a cancelled call holds none.

        Raises:
            ValueError: more than there will ever be.
        """
        if not 0 <= size <= self.total:
            raise ValueError(f"{size} bytes of {self.total} can never be had")
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((size, turn))
                self._serve()
            else:
                # The share came and the cancellation with it.
                self.release(size)
            raise

    def release(self, size: int) -> None:
        """Give back what `acquire` took."""
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            self._free -= size
            turn.set_result(None)
