"""Frames of many cameras, gathered for one model. Pure asyncio: knows neither Ray nor the network.

Two shapes of machine, one mechanism. A GPU gains from batches, so a worker waits a moment for more
frames. A CPU does not (66 against 67 frames/s, see `openvino_runtime`) but gains from several calls
in flight, so there the batch is one frame and there are several workers.

Who goes first is decided by `lanes` (live frames before interactive programs before jobs) and, in
each lane, by `fair_queue` (tenants, then their cameras). A batch mixes tenants and cameras.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from cluster.core.aio import as_future_error, call_foreign
from cluster.inference.fair_queue import Ticket
from cluster.inference.lanes import Lane, Lanes
from pipelines.clock import Clock
from pipelines.domain import WorkOwner
from pipelines.errors import StaleFrameError, UnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """How long one batch took: seconds its oldest frame waited, seconds it ran, and its size."""

    lane: Lane
    waited_s: float
    ran_s: float
    size: int


@dataclass(frozen=True, slots=True)
class _Request(Generic[Item, Result]):
    item: Item
    done: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """Bounded, fair queues in front of a blocking function, served by owned threads.

    Args:
        run: blocking; takes 1..max_batch items and returns as many results, in order.
        max_batch: most items of one call.
        parallel: calls in flight at once.
        wait_s: how long a call waits for more items while it is not full.
        max_waiting: items that may wait in each lane; a lane that is not named takes none.
        clock: for how long items wait and calls run.
        max_wait_s: live items that have waited for longer are dropped; None: none are.
        observe: called for every finished batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_batch: int,
        parallel: int,
        wait_s: float,
        max_waiting: Mapping[Lane, int],
        clock: Clock,
        max_wait_s: float | None = None,
        observe: Callable[[BatchTimes], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._wait_s = wait_s if max_batch > 1 else 0.0
        self._clock = clock
        self._max_wait_s = max_wait_s
        self._observe = observe
        self._lanes: Lanes[_Request[Item, Result]] = Lanes(max_waiting, parallel)
        self._arrived = asyncio.Event()
        self._running_since: dict[int, float] = {}
        self._closing = False
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="infer")
        self._workers = [asyncio.create_task(self._work(index)) for index in range(parallel)]

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._lanes)

    async def submit(
        self, item: Item, owner: WorkOwner, lane: Lane = Lane.LIVE, urgency: int = 0
    ) -> Result:
        """The result for `item`.

        Args:
            urgency: among the items of its owner's tenant; higher ones go first.

        Raises:
            StaleFrameError: it waited for longer than `max_wait_s`; live items only.
            UnavailableError: the lane is full and no tenant has more in it than this one, or
                another tenant needed the room; or the batcher is closing.
            Exception: whatever `run` raised for the batch that held it; what a future cannot hold,
                such as StopIteration, as a RuntimeError.
        """
        if self._closing:
            raise UnavailableError("the detector is closing.", hint="Try again in a moment.")
        self._drop_stale()
        queue = self._lanes[lane]
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        request = _Request(item, done)
        ticket = Ticket(owner, request, self._clock.monotonic(), urgency)
        given_up = queue.push(ticket)
        if given_up is not None:
            _fail(given_up.item.done, _overloaded(queue.waiting_of(given_up.owner.tenant)))
        self._arrived.set()
        try:
            return await done
        finally:
            queue.discard(ticket)  # its caller may have gone

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
        while (taken := await self._next_batch()) is not None:
            lane, batch = taken
            requests = [ticket.item for ticket in batch]
            started = self._clock.monotonic()
            self._running_since[index] = started
            try:
                results = await loop.run_in_executor(
                    self._threads, call_foreign, self._run, [one.item for one in requests]
                )
                if len(results) != len(batch):
                    raise RuntimeError(f"{len(batch)} items went in, {len(results)} came out")
            # The top of this task: whatever the model raised belongs to those who wait for it.
            except Exception as error:  # noqa: BLE001
                for one in requests:
                    _fail(one.done, error)
            else:
                for one, result in zip(requests, results, strict=True):
                    if not one.done.done():  # its caller may have gone
                        one.done.set_result(result)
            finally:
                del self._running_since[index]
                self._lanes.end(lane)
            self._observe(
                BatchTimes(
                    lane=lane,
                    waited_s=started - min(ticket.arrived_s for ticket in batch),
                    ran_s=self._clock.monotonic() - started,
                    size=len(batch),
                )
            )

    async def _next_batch(self) -> tuple[Lane, list[Ticket[_Request[Item, Result]]]] | None:
        """At least one item whose caller still waits; None once closed and drained."""
        while True:
            self._drop_stale()
            lane = self._lanes.next_lane()
            if lane is None:
                if self._closing:
                    # What may wait in lower lanes is taken by the worker that holds it back.
                    return None
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if self._wait_s and len(self._lanes[lane]) < self._max_batch and not self._closing:
                await asyncio.sleep(self._wait_s)
                self._drop_stale()
                if self._lanes.next_lane() is not lane:
                    continue  # live frames came, or another worker took what was there
            taken = self._lanes.begin(lane, self._max_batch)
            batch = [ticket for ticket in taken if not ticket.item.done.done()]
            if batch:
                return lane, batch
            self._lanes.end(lane)

    def _drop_stale(self) -> None:
        """Before anything is taken or refused, so that no fresh frame waits for a stale one."""
        if self._max_wait_s is None:
            return
        before_s = self._clock.monotonic() - self._max_wait_s
        for ticket in self._lanes[Lane.LIVE].expire(before_s):
            _fail(
                ticket.item.done,
                StaleFrameError(
                    f"the frame waited for more than {self._max_wait_s * 1e3:.0f} ms.",
                    hint="Send a newer one. If this goes on, raise detector.replicas.",
                ),
            )


def _overloaded(waiting: int) -> UnavailableError:
    return UnavailableError(
        f"the detector is overloaded: {waiting} frames of this tenant wait.",
        hint="Send fewer frames, or raise detector.replicas.",
    )


def _fail(done: asyncio.Future[Result], error: Exception) -> None:
    if not done.done():
        done.set_exception(as_future_error(error))
