"""One worker as the controller sees it: every way a call may end, in every order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller.health import TRANSITIONS, Health, WorkerEvent, advance
from cluster.controller.worker_loop import Report, WorkerCallError, WorkerCalls, WorkerLoop
from pipelines.clock import ManualClock

EVENTS = st.lists(st.sampled_from(WorkerEvent), max_size=30)


def test_every_state_knows_every_event() -> None:
    assert TRANSITIONS.keys() == {(health, event) for health in Health for event in WorkerEvent}
    with pytest.raises(ValueError, match="no transition"):
        advance(Health.UP, "exploded")  # type: ignore[arg-type]


@given(st.sampled_from((Health.UNKNOWN, Health.STARTING)), EVENTS)
def test_what_a_worker_is_follows_from_what_it_did_last(
    health: Health, events: list[WorkerEvent]
) -> None:
    answered = False
    for event in events:
        before, health = health, advance(health, event)
        answered = answered or event is WorkerEvent.ANSWERED
        if event is WorkerEvent.ANSWERED:
            assert health is Health.UP
        elif event is WorkerEvent.GONE:
            assert health is Health.DOWN
        elif event is WorkerEvent.FAILED:
            assert health is before
        # Only what may carry cameras is killed for its silence, never what is still starting.
        elif before in (Health.STARTING, Health.DOWN):
            assert health is before
        else:
            assert health is Health.HUNG
        assert health is not Health.UNKNOWN or not answered
        assert health is not Health.STARTING or not answered


@dataclass
class Worker:
    """Answers its `life`, or as the script says; a call hangs while `blocked`."""

    life: int = 1
    script: list[WorkerEvent] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    kills: int = 0
    told: int = 0
    watched: int = 0

    async def ask(self) -> int:
        event = self.script.pop(0) if self.script else WorkerEvent.ANSWERED
        if event is not WorkerEvent.ANSWERED:
            raise WorkerCallError(event)
        return self.life

    async def ended(self) -> bool:
        self.watched += 1
        await self.over.wait()
        self.over.clear()
        return True

    async def kill(self) -> None:
        self.kills += 1

    def tell(self) -> None:
        self.told += 1


def _loop(worker: Worker, clock: ManualClock, *, adopted: bool = False) -> WorkerLoop[int]:
    calls = WorkerCalls(worker.ask, worker.ended, worker.kill, lambda: 3600.0, worker.tell)
    return WorkerLoop("bridge 0", calls, clock, adopted=adopted)


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_answer_is_kept_with_its_time_until_the_process_ends() -> None:
    worker, clock = Worker(), ManualClock(1_000)
    loop = _loop(worker, clock)
    running = asyncio.create_task(loop.run())
    await _turns()
    assert (loop.health, loop.report) == (Health.UP, Report(1, 1_000))
    worker.script = [WorkerEvent.FAILED]
    clock.advance(5.0)
    loop.wake()
    await _turns()
    assert (loop.health, loop.report) == (Health.UP, Report(1, 1_000))
    worker.script = [WorkerEvent.GONE]
    worker.over.set()  # nobody asked
    await _turns()
    assert (loop.health, loop.report) == (Health.DOWN, None)
    worker.life = 2
    loop.wake()
    await _turns()
    assert (loop.health, loop.report) == (Health.UP, Report(2, 5_001_000))
    assert (worker.kills, worker.watched) == (0, 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_worker_that_falls_silent_is_killed_and_one_that_starts_is_not() -> None:
    worker = Worker(script=[WorkerEvent.SILENT])
    loop = _loop(worker, ManualClock())
    running = asyncio.create_task(loop.run())
    await _turns()
    assert (loop.health, worker.kills) == (Health.STARTING, 0)
    loop.wake()
    await _turns()
    worker.script = [WorkerEvent.SILENT]
    loop.wake()
    await _turns()
    assert (loop.health, loop.report, worker.kills) == (Health.HUNG, None, 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_worker_found_running_is_unknown_until_it_answers() -> None:
    worker = Worker(script=[WorkerEvent.FAILED])
    loop = _loop(worker, ManualClock(), adopted=True)
    assert (loop.health, loop.tried) == (Health.UNKNOWN, False)
    running = asyncio.create_task(loop.run())
    await _turns()
    assert (loop.health, loop.tried) == (Health.UNKNOWN, True)
    loop.wake()
    await _turns()
    assert loop.health is Health.UP
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
