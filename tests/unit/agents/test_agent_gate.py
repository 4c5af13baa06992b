"""One frame in flight, from whichever thread it is offered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from agents.gate import FrameGate
from tests.factories import T0_US

PERIOD_US = 200_000


def test_the_next_frame_waits_until_the_one_before_is_done() -> None:
    gate = FrameGate(5, 0.0)
    assert gate.offer(T0_US)
    assert not gate.offer(T0_US + PERIOD_US)
    gate.done()
    assert gate.offer(T0_US + 2 * PERIOD_US)
    assert gate.skipped == {"busy": 1}


def test_every_frame_that_is_not_analysed_has_a_cause() -> None:
    gate = FrameGate(5, 0.0)
    assert gate.offer(T0_US)
    gate.count_late()
    gate.count_stale()
    gate.done()
    assert not gate.offer(T0_US + 40_000)
    assert not gate.offer(0)
    assert gate.skipped == {"old": 1, "rate": 1, "stale": 1, "unstamped": 1}


def test_another_rate_holds_from_the_next_frame_on() -> None:
    gate = FrameGate(5, 0.0)
    assert gate.offer(T0_US)
    gate.done()
    gate.set_fps(25)
    assert gate.offer(T0_US + 40_000)


def test_one_of_many_threads_gets_a_frame_through() -> None:
    gate = FrameGate(5, 0.0)
    with ThreadPoolExecutor(8) as threads:
        let_through = sum(threads.map(gate.offer, [T0_US] * 400))
    assert let_through == 1
    assert sum(gate.skipped.values()) == 399
