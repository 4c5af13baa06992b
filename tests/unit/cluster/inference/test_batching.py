"""The queue in front of a model, with a model that the test holds and lets go."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Sequence

import pytest

from cluster.core.aio import all_or_none
from cluster.inference.batching import Batcher, BatchTimes
from cluster.inference.lanes import Lane
from pipelines.clock import ManualClock
from pipelines.domain import WorkOwner
from pipelines.errors import ModelError, StaleFrameError, UnavailableError

OWNER = WorkOwner("acme", "gate")


class Held:
    """Doubles numbers, but only after `let_go`; remembers its batches and how many ran at once."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.at_once = 0
        self._running = 0
        self._lock = threading.Lock()
        self._called = threading.Condition(self._lock)
        self._gate = threading.Event()

    def let_go(self) -> None:
        self._gate.set()

    def wait_for_calls(self, count: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: len(self.batches) >= count, 10)

    def __call__(self, items: Sequence[int]) -> list[int]:
        with self._lock:
            self.batches.append(list(items))
            self._called.notify_all()
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        assert self._gate.wait(10)
        with self._lock:
            self._running -= 1
        return [2 * item for item in items]


def batcher(
    run: Held,
    *,
    max_batch: int = 1,
    parallel: int = 1,
    max_waiting: int = 100,
    max_wait_s: float | None = None,
    clock: ManualClock | None = None,
    observed: list[BatchTimes] | None = None,
) -> Batcher[int, int]:
    return Batcher(
        run,
        max_batch=max_batch,
        parallel=parallel,
        wait_s=0.0,
        max_waiting=dict.fromkeys(Lane, max_waiting),
        max_wait_s=max_wait_s,
        clock=clock or ManualClock(),
        observe=(observed if observed is not None else []).append,
    )


async def settled(tasks: list[asyncio.Task[int]], run: Held, calls: int) -> None:
    """Until every task has submitted and `calls` calls run."""
    await asyncio.to_thread(run.wait_for_calls, calls)
    for _ in tasks:
        await asyncio.sleep(0)


async def test_results_go_to_their_callers_in_any_order() -> None:
    run = Held()
    queue = batcher(run, max_batch=4, parallel=2)
    run.let_go()
    assert await asyncio.gather(*(queue.submit(i, OWNER) for i in range(50))) == [
        2 * i for i in range(50)
    ]
    await queue.aclose()


async def test_what_waits_is_served_together_first_come_first() -> None:
    run = Held()
    observed: list[BatchTimes] = []
    queue = batcher(run, max_batch=4, observed=observed)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    rest = [asyncio.create_task(queue.submit(i, OWNER)) for i in range(1, 8)]
    await settled(rest, run, 1)
    assert len(queue) == 7
    run.let_go()
    await asyncio.gather(first, *rest)
    await queue.aclose()
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert [times.size for times in observed] == [1, 4, 3]


async def test_calls_run_in_parallel_but_no_more_than_asked() -> None:
    run = Held()
    queue = batcher(run, parallel=3)
    tasks = [asyncio.create_task(queue.submit(i, OWNER)) for i in range(9)]
    await settled(tasks, run, 3)
    assert len(queue) == 6
    run.let_go()
    await asyncio.gather(*tasks)
    await queue.aclose()
    assert run.at_once == 3


async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    run = Held()
    queue = batcher(run, max_waiting=2)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    waiting = [asyncio.create_task(queue.submit(i, OWNER)) for i in (1, 2)]
    await settled(waiting, run, 1)
    with pytest.raises(UnavailableError, match="overloaded: 2 frames of this tenant wait"):
        await queue.submit(3, OWNER)
    run.let_go()
    assert await asyncio.gather(first, *waiting) == [0, 2, 4]
    await queue.aclose()


async def test_who_left_is_not_computed_and_disturbs_nobody() -> None:
    run = Held()
    queue = batcher(run, max_batch=4)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    leaver, stayer = (
        asyncio.create_task(queue.submit(1, OWNER)),
        asyncio.create_task(queue.submit(2, OWNER)),
    )
    await settled([leaver, stayer], run, 1)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    run.let_go()
    assert await stayer == 4
    await queue.aclose()
    assert run.batches == [[0], [2]]


async def test_a_failing_model_fails_its_batch_and_goes_on() -> None:
    def run(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ModelError("no")
        return list(items)

    queue: Batcher[int, int] = Batcher(
        run, max_batch=1, parallel=1, wait_s=0, max_waiting={Lane.LIVE: 10}, clock=ManualClock()
    )
    with pytest.raises(ModelError):
        await queue.submit(13, OWNER)
    assert await queue.submit(1, OWNER) == 1
    assert not queue.broken()
    await queue.aclose()


async def test_a_wrong_number_of_results_reaches_every_caller() -> None:
    queue: Batcher[int, int] = Batcher(
        lambda items: [],
        max_batch=1,
        parallel=1,
        wait_s=0,
        max_waiting={Lane.LIVE: 10},
        clock=ManualClock(),
    )
    with pytest.raises(RuntimeError, match="1 items went in, 0 came out"):
        await queue.submit(1, OWNER)
    await queue.aclose()


async def test_closing_serves_what_waits_and_refuses_what_comes() -> None:
    run = Held()
    queue = batcher(run)
    tasks = [asyncio.create_task(queue.submit(i, OWNER)) for i in range(5)]
    await settled(tasks, run, 1)
    closing = asyncio.create_task(queue.aclose())
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="closing"):
        await queue.submit(9, OWNER)
    run.let_go()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]
    await closing
    await queue.aclose()
    assert not queue.broken()


async def test_a_call_that_hangs_shows() -> None:
    clock = ManualClock()
    run = Held()
    queue: Batcher[int, int] = Batcher(
        run, max_batch=1, parallel=1, wait_s=0, max_waiting={Lane.LIVE: 10}, clock=clock
    )
    assert queue.stuck_s() == 0
    task = asyncio.create_task(queue.submit(1, OWNER))
    await settled([task], run, 1)
    clock.advance(40)
    assert queue.stuck_s() == 40
    run.let_go()
    await task
    assert queue.stuck_s() == 0
    await queue.aclose()


async def test_live_frames_go_before_what_waits_behind() -> None:
    """Whenever a call ends, the next is a live one while there are any; see by the order alone."""
    run = Held()
    queue = batcher(run)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    behind = [asyncio.create_task(queue.submit(100 + i, OWNER, Lane.BEHIND)) for i in range(5)]
    await settled(behind, run, 1)
    live = [asyncio.create_task(queue.submit(i, OWNER)) for i in range(1, 4)]
    await settled(live, run, 1)
    run.let_go()
    await asyncio.gather(first, *behind, *live)
    await queue.aclose()
    assert run.batches == [[0], [1], [2], [3], [100], [101], [102], [103], [104]]


async def test_batches_hold_frames_of_one_lane() -> None:
    """A live batch is not made longer by what waits behind."""
    run = Held()
    queue = batcher(run, max_batch=4)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    behind = [asyncio.create_task(queue.submit(100 + i, OWNER, Lane.BEHIND)) for i in range(5)]
    live = [asyncio.create_task(queue.submit(i, OWNER)) for i in range(1, 3)]
    await settled([*behind, *live], run, 1)
    run.let_go()
    await asyncio.gather(first, *behind, *live)
    await queue.aclose()
    assert run.batches == [[0], [1, 2], [100, 101, 102, 103], [104]]


async def test_what_waits_behind_has_its_turn_at_last() -> None:
    """Cameras that keep the detector busy all the time leave one call in twenty-one."""
    run = Held()
    queue = batcher(run)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    behind = [asyncio.create_task(queue.submit(1000 + i, OWNER, Lane.BEHIND)) for i in range(3)]
    live = [asyncio.create_task(queue.submit(i, OWNER)) for i in range(1, 60)]
    await settled([*behind, *live], run, 1)
    run.let_go()
    await asyncio.gather(first, *behind, *live)
    await queue.aclose()
    order = [batch[0] for batch in run.batches]
    assert [order.index(1000 + i) for i in range(3)] == [20, 41, 62]


async def test_one_worker_is_kept_for_live_frames() -> None:
    run = Held()
    queue = batcher(run, parallel=3)
    behind = [asyncio.create_task(queue.submit(100 + i, OWNER, Lane.BEHIND)) for i in range(6)]
    await settled(behind, run, 2)
    live = asyncio.create_task(queue.submit(1, OWNER))
    await settled([live], run, 3)
    assert run.batches == [[100], [101], [1]]
    run.let_go()
    await asyncio.gather(*behind, live)
    await queue.aclose()
    assert sorted(batch[0] for batch in run.batches) == [1, 100, 101, 102, 103, 104, 105]


async def test_a_full_lane_does_not_fill_the_other() -> None:
    run = Held()
    queue = batcher(run, max_waiting=2)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    behind = [asyncio.create_task(queue.submit(100 + i, OWNER, Lane.BEHIND)) for i in range(2)]
    await settled(behind, run, 1)
    with pytest.raises(UnavailableError, match="2 frames of this tenant wait"):
        await queue.submit(102, OWNER, Lane.BEHIND)
    live = asyncio.create_task(queue.submit(1, OWNER))
    await settled([live], run, 1)
    run.let_go()
    assert await asyncio.gather(first, live, *behind) == [0, 2, 200, 202]
    await queue.aclose()


async def test_closing_finishes_what_waits_behind() -> None:
    run = Held()
    queue = batcher(run, parallel=3)
    behind = [asyncio.create_task(queue.submit(i, OWNER, Lane.BEHIND)) for i in range(8)]
    await settled(behind, run, 2)
    run.let_go()
    await queue.aclose()
    assert await asyncio.gather(*behind) == [2 * i for i in range(8)]


async def test_a_frame_that_waited_too_long_is_dropped_before_the_model() -> None:
    run, clock = Held(), ManualClock()
    queue = batcher(run, max_wait_s=1.0, clock=clock)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    stale = asyncio.create_task(queue.submit(1, WorkOwner("acme", "yard")))
    await settled([stale], run, 1)
    clock.advance(0.6)
    fresh = asyncio.create_task(queue.submit(2, WorkOwner("acme", "hall")))
    await settled([fresh], run, 1)
    clock.advance(0.6)
    run.let_go()
    with pytest.raises(StaleFrameError, match="more than 1000 ms"):
        await stale
    assert [await first, await fresh] == [0, 4]
    await queue.aclose()
    assert run.batches == [[0], [2]]


async def test_stale_frames_leave_their_room_to_fresh_ones() -> None:
    run, clock = Held(), ManualClock()
    queue = batcher(run, max_waiting=2, max_wait_s=1.0, clock=clock)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    stale = [asyncio.create_task(queue.submit(i, OWNER)) for i in (1, 2)]
    await settled(stale, run, 1)
    clock.advance(1.1)
    fresh = asyncio.create_task(queue.submit(3, OWNER))
    ended = await asyncio.gather(*stale, return_exceptions=True)
    assert [type(error) for error in ended] == [StaleFrameError] * 2
    run.let_go()
    assert [await first, await fresh] == [0, 6]
    await queue.aclose()


@pytest.mark.parametrize("lane", [Lane.INTERACTIVE, Lane.BEHIND])
async def test_only_live_frames_become_stale(lane: Lane) -> None:
    run, clock = Held(), ManualClock()
    observed: list[BatchTimes] = []
    queue = batcher(run, max_wait_s=1.0, clock=clock, observed=observed)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    waiting = asyncio.create_task(queue.submit(1, OWNER, lane))
    await settled([waiting], run, 1)
    clock.advance(60)
    run.let_go()
    assert [await first, await waiting] == [0, 2]
    await queue.aclose()
    assert [(times.lane, times.waited_s) for times in observed] == [(Lane.LIVE, 0), (lane, 60)]


async def test_tenants_take_turns_and_so_do_their_cameras() -> None:
    run = Held()
    queue = batcher(run)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    many = [
        asyncio.create_task(queue.submit(100 + i, WorkOwner("many", f"cam-{i % 2}")))
        for i in (0, 2, 4, 1)
    ]
    few = [asyncio.create_task(queue.submit(i, WorkOwner("few", "gate"))) for i in (1, 2)]
    await settled([*many, *few], run, 1)
    run.let_go()
    await asyncio.gather(first, *many, *few)
    await queue.aclose()
    assert run.batches == [[0], [100], [1], [101], [2], [102], [104]]


async def test_who_floods_gives_way_and_keeps_what_is_its_own() -> None:
    run = Held()
    queue = batcher(run, max_waiting=4)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    flood = [
        asyncio.create_task(queue.submit(10 + i, WorkOwner("many"), Lane.INTERACTIVE))
        for i in range(6)
    ]
    await settled(flood, run, 1)
    other = [
        asyncio.create_task(queue.submit(i, WorkOwner("few"), Lane.INTERACTIVE)) for i in range(3)
    ]
    await settled(other, run, 1)
    run.let_go()
    ended = await asyncio.gather(*flood, return_exceptions=True)
    assert ended[:2] == [20, 22]
    assert [type(error) for error in ended[2:]] == [UnavailableError] * 4
    assert [await task for task in other[:2]] == [0, 2]
    with pytest.raises(UnavailableError, match="overloaded: 2 frames of this tenant wait"):
        await other[2]
    assert await first == 0
    await queue.aclose()


async def test_who_left_leaves_its_room() -> None:
    run = Held()
    queue = batcher(run, max_waiting=1)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    leaver = asyncio.create_task(queue.submit(1, OWNER))
    await settled([leaver], run, 1)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert len(queue) == 0
    stayer = asyncio.create_task(queue.submit(2, OWNER))
    await settled([stayer], run, 1)
    run.let_go()
    assert [await first, await stayer] == [0, 4]
    await queue.aclose()


class Stopped(Exception):
    """What a model of others may raise."""


@pytest.mark.parametrize(
    "raised",
    [
        StopIteration("no more"),
        StopAsyncIteration("no more"),
        GeneratorExit("left"),
        asyncio.CancelledError("not the caller's"),
        concurrent.futures.CancelledError("of a future inside the model"),
        SystemExit("over"),
        KeyboardInterrupt("over"),
        TimeoutError("slow"),
        Stopped("own"),
    ],
    ids=lambda raised: f"{type(raised).__module__}.{type(raised).__name__}",
)
async def test_whatever_a_model_raises_reaches_its_callers(raised: BaseException) -> None:
    """None waits for ever, none takes it for its own cancellation, and the worker goes on."""

    def run(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise raised
        return list(items)

    queue: Batcher[int, int] = Batcher(
        run, max_batch=2, parallel=1, wait_s=0, max_waiting={Lane.LIVE: 10}, clock=ManualClock()
    )
    ended = await asyncio.gather(
        *(queue.submit(item, OWNER) for item in (13, 14)), return_exceptions=True
    )
    for error in ended:
        assert isinstance(error, Exception)
        assert type(error) is type(raised) or error.__cause__ is raised
    assert await queue.submit(1, OWNER) == 1
    assert not queue.broken()
    await queue.aclose()


async def test_the_siblings_of_a_frame_that_fails_leave_the_queue() -> None:
    """As `Detector.detect_many` submits: nobody waits for them any more."""
    run = Held()
    queue = batcher(run, max_waiting=3)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    with pytest.raises(UnavailableError, match="overloaded"):
        await all_or_none(queue.submit(i, OWNER, Lane.BEHIND) for i in range(1, 9))
    assert len(queue) == 0
    run.let_go()
    assert await first == 0
    await queue.aclose()
    assert run.batches == [[0]]


async def test_two_lanes_take_turns_at_one_worker() -> None:
    """Neither live frames nor uploads keep the other from the only worker, whoever floods."""
    run = Held()
    queue = batcher(run)
    first = asyncio.create_task(queue.submit(0, OWNER))
    await settled([first], run, 1)
    uploads = [
        asyncio.create_task(queue.submit(1000 + i, WorkOwner("b"), Lane.INTERACTIVE))
        for i in range(4)
    ]
    live = [asyncio.create_task(queue.submit(i, OWNER)) for i in range(1, 64)]
    await settled([*uploads, *live], run, 1)
    run.let_go()
    await asyncio.gather(first, *uploads, *live)
    await queue.aclose()
    order = [batch[0] for batch in run.batches]
    assert [order.index(1000 + i) for i in range(3)] == [20, 41, 62]
    assert order.index(1003) == len(order) - 1, "nothing waits above it any more"
