"""Frames of many cameras, gathered for one model. Pure asyncio: knows neither Ray nor the network.

Two shapes of machine, one mechanism. A GPU gains from batches, so a worker waits a moment for more
frames. A CPU does not (66 against 67 frames/s, see `openvino_runtime`) but gains from several calls
in flight, so there the batch is one frame and there are several workers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipelines.clock import Clock
from pipelines.errors import UnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """How long one batch took: seconds its oldest frame waited, seconds it ran, and its size."""

    waited_s: float
    ran_s: float
    size: int


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    arrived: float
    done: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """A bounded first-come queue in front of a blocking function, served by owned threads.

    Args:
        run: blocking; takes 1..max_batch items and returns as many results, in order.
        max_batch: most items of one call.
        parallel: calls in flight at once.
        wait_s: how long a call waits for more items while it is not full.
        max_waiting: items that may wait; one more is refused.
        observe: told of every finished batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_batch: int,
        parallel: int,
        wait_s: float,
        max_waiting: int,
        clock: Clock,
        observe: Callable[[BatchTimes], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._wait_s = wait_s if max_batch > 1 else 0.0
        self._max_waiting = max_waiting
        self._clock = clock
        self._observe = observe
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._running_since: dict[int, float] = {}
        self._closing = False
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="infer")
        self._workers = [asyncio.create_task(self._work(index)) for index in range(parallel)]

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result:
        """The result for `item`.

        Raises:
            UnavailableError: `max_waiting` items wait already, or the batcher is closing.
            Exception: whatever `run` raised for the batch that held it.
        """
        if self._closing or len(self._waiting) >= self._max_waiting:
            raise UnavailableError(
                "the detector is closing."
                if self._closing
                else f"the detector is overloaded: {len(self._waiting)} frames wait.",
                hint="Send fewer frames, or raise detector.replicas.",
            )
        waiting: _Waiting[Item, Result] = _Waiting(
            item, self._clock.monotonic(), asyncio.get_running_loop().create_future()
        )
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.done

    def stuck_s(self) -> float:
        """For how long the oldest call has been running, seconds; 0 where none is."""
        now = self._clock.monotonic()
        return max((now - since for since in self._running_since.values()), default=0.0)

    def broken(self) -> bool:
        """Whether a worker ended although nobody closed the batcher."""
        return not self._closing and any(worker.done() for worker in self._workers)

    async def aclose(self) -> None:
        """Refuse new items, finish those that wait, stop the threads. Idempotent."""
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._workers)
        await asyncio.to_thread(self._threads.shutdown)

    async def _work(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch()
            if not batch:
                return
            started = self._clock.monotonic()
            self._running_since[index] = started
            try:
                results = await loop.run_in_executor(
                    self._threads, self._run, [waiting.item for waiting in batch]
                )
                if len(results) != len(batch):
                    raise RuntimeError(f"{len(batch)} items went in, {len(results)} came out")
            # The top of this task: whatever the model raised belongs to those who wait for it.
            except Exception as error:  # noqa: BLE001
                for waiting in batch:
                    _fail(waiting.done, error)
            else:
                for waiting, result in zip(batch, results, strict=True):
                    if not waiting.done.done():  # its caller may have gone
                        waiting.done.set_result(result)
            finally:
                del self._running_since[index]
            self._observe(
                BatchTimes(
                    waited_s=started - batch[0].arrived,
                    ran_s=self._clock.monotonic() - started,
                    size=len(batch),
                )
            )

    async def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """At least one item whose caller still waits; empty once closed and drained."""
        while True:
            while not self._waiting:
                if self._closing:
                    return []
                self._arrived.clear()
                await self._arrived.wait()
            if self._wait_s and len(self._waiting) < self._max_batch and not self._closing:
                await asyncio.sleep(self._wait_s)
            batch: list[_Waiting[Item, Result]] = []
            while self._waiting and len(batch) < self._max_batch:
                waiting = self._waiting.popleft()
                if not waiting.done.done():
                    batch.append(waiting)
            if batch:
                return batch


def _fail(done: asyncio.Future[Result], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
