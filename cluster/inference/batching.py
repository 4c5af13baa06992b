"""Frames of many cameras, gathered for one model. Pure asyncio: knows neither Ray nor the network.

Two shapes of machine, one mechanism. A GPU gains from batches, so a worker waits a moment for more
frames. A CPU does not (66 against 67 frames/s, see `openvino_runtime`) but gains from several calls
in flight, so there the batch is one frame and there are several workers.

Two lanes. What jobs bring waits behind what live cameras bring: it is taken where no live frame
waits, and never by all workers at once, so that a live frame finds one free or soon free. Cameras
that keep a detector busy all the time would keep jobs waiting for ever (each has a next frame ready
whenever one comes back), hence their turn: one call in `LIVE_CALLS_PER_TURN` costs live work at
most 5 % of its rate, and each frame at most one call of waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from pipelines.clock import Clock
from pipelines.errors import UnavailableError

LIVE_CALLS_PER_TURN = 20

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lane(Enum):
    """Whose work goes first."""

    LIVE = auto()
    BEHIND = auto()


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
    """Bounded first-come queues in front of a blocking function, served by owned threads.

    Args:
        run: blocking; takes 1..max_batch items and returns as many results, in order.
        max_batch: most items of one call.
        parallel: calls in flight at once.
        wait_s: how long a call waits for more items while it is not full.
        max_waiting: items that may wait in each lane; one more is refused.
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
        self._lanes: dict[Lane, deque[_Waiting[Item, Result]]] = {lane: deque() for lane in Lane}
        self._most_behind = max(1, parallel - 1)
        self._behind_running = 0
        self._live_calls = 0
        self._arrived = asyncio.Event()
        self._running_since: dict[int, float] = {}
        self._closing = False
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="infer")
        self._workers = [asyncio.create_task(self._work(index)) for index in range(parallel)]

    def __len__(self) -> int:
        """Items that wait."""
        return sum(len(lane) for lane in self._lanes.values())

    async def submit(self, item: Item, lane: Lane = Lane.LIVE) -> Result:
        """The result for `item`.

        Raises:
            UnavailableError: `max_waiting` items wait already, or the batcher is closing.
            Exception: whatever `run` raised for the batch that held it.
        """
        queue = self._lanes[lane]
        if self._closing or len(queue) >= self._max_waiting:
            raise UnavailableError(
                "the detector is closing."
                if self._closing
                else f"the detector is overloaded: {len(queue)} frames wait.",
                hint="Send fewer frames, or raise detector.replicas.",
            )
        waiting: _Waiting[Item, Result] = _Waiting(
            item, self._clock.monotonic(), asyncio.get_running_loop().create_future()
        )
        queue.append(waiting)
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
            lane, batch = await self._next_batch()
            if not batch:
                return
            self._took(lane, 1)
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
                self._took(lane, -1)
            self._observe(
                BatchTimes(
                    waited_s=started - batch[0].arrived,
                    ran_s=self._clock.monotonic() - started,
                    size=len(batch),
                )
            )

    def _took(self, lane: Lane, calls: int) -> None:
        """Count a call that begins (1) or ends (-1)."""
        if lane is Lane.BEHIND:
            self._behind_running += calls
        if calls > 0:
            self._live_calls = 0 if lane is Lane.BEHIND else self._live_calls + 1

    def _next_lane(self) -> Lane | None:
        """Whose turn it is; None where nothing may be taken."""
        live, behind = self._lanes[Lane.LIVE], self._lanes[Lane.BEHIND]
        if behind and self._behind_running < self._most_behind:
            if not live or self._live_calls >= LIVE_CALLS_PER_TURN:
                return Lane.BEHIND
        return Lane.LIVE if live else None

    async def _next_batch(self) -> tuple[Lane, list[_Waiting[Item, Result]]]:
        """At least one item whose caller still waits; empty once closed and drained."""
        while True:
            while (lane := self._next_lane()) is None:
                if self._closing:
                    # What may wait behind is taken by the worker whose call holds it back.
                    return Lane.LIVE, []
                self._arrived.clear()
                await self._arrived.wait()
            queue = self._lanes[lane]
            if self._wait_s and len(queue) < self._max_batch and not self._closing:
                await asyncio.sleep(self._wait_s)
                if self._next_lane() is not lane:
                    continue  # live frames came, or another worker took what was there
            batch: list[_Waiting[Item, Result]] = []
            while queue and len(batch) < self._max_batch:
                waiting = queue.popleft()
                if not waiting.done.done():
                    batch.append(waiting)
            if batch:
                return lane, batch


def _fail(done: asyncio.Future[Result], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
