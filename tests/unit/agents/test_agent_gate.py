"""One frame in flight, from whichever thread it is offered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from agents.gate import FrameGate
from pipelines.sampling import grid_phase
from tests.unit.agents.host_parts import make_plan, no_luma

PERIOD_US = 200_000
# The beginning of a cell of this camera's grid.
START_US = 8_000_000_000 * PERIOD_US + round(grid_phase(make_plan().key) * PERIOD_US)


def offer(gate: FrameGate, capture_us: int) -> bool:
    return gate.offer(capture_us, no_luma) is not None


def test_the_next_frame_waits_until_the_one_before_is_done() -> None:
    gate = FrameGate(make_plan())
    assert offer(gate, START_US)
    assert not offer(gate, START_US + PERIOD_US)
    gate.done()
    assert offer(gate, START_US + 2 * PERIOD_US)
    assert gate.skipped == {"busy": 1}


def test_every_frame_that_is_not_analysed_has_a_cause() -> None:
    gate = FrameGate(make_plan())
    assert offer(gate, START_US)
    gate.count_late()
    gate.count_stale()
    gate.done()
    assert not offer(gate, START_US + 40_000)
    assert not offer(gate, 0)
    assert gate.skipped == {"old": 1, "rate": 1, "stale": 1, "unstamped": 1}


def test_another_rate_holds_from_the_next_frame_on() -> None:
    gate = FrameGate(make_plan())
    assert offer(gate, START_US)
    gate.follow(make_plan(detect_fps=25))
    gate.done()
    assert offer(gate, START_US + 40_000)


def test_one_of_many_threads_gets_a_frame_through() -> None:
    gate = FrameGate(make_plan())
    with ThreadPoolExecutor(8) as threads:
        let_through = sum(threads.map(lambda at_us: offer(gate, at_us), [START_US] * 400))
    assert let_through == 1
    assert sum(gate.skipped.values()) == 399
