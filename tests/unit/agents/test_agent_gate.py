"""One frame in flight, from whichever thread it is offered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from agents.gate import FrameGate
from pipelines.attention import Urgency
from pipelines.domain import FrameStamp
from pipelines.sampling import grid_phase
from tests.unit.agents.host_parts import ONE_PERSON, SIZE, make_plan, no_luma

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


# ------------------------------------------------------------------ by what moves

LUMA = np.full((90, 160), 90, np.uint8)


def offered(gate: FrameGate, seconds: float, begin_s: float = 0.0) -> list[float]:
    """When a still picture is analysed, of 25 frames/s."""
    times = [begin_s + n / 25 for n in range(round((seconds - begin_s) * 25))]
    found = []
    for t in times:
        due = gate.offer(START_US + round(t * 1e6), lambda: LUMA)
        if due is not None:
            found.append(t)
            gate.done()
    return [round(t, 2) for t in found]


def test_with_attention_a_still_picture_costs_a_heartbeat() -> None:
    gate = FrameGate(make_plan(attention=True))
    assert [t % 2 for t in offered(gate, 20.0) if t > 4] == [0.0] * 7
    assert gate.skipped["quiet"] > 0


def test_what_was_found_is_followed() -> None:
    gate = FrameGate(make_plan(attention=True))
    assert offered(gate, 18.04)[-1] == 18.0
    gate.learn(FrameStamp(START_US + 18_000_000, 1, *SIZE), ONE_PERSON)
    # Seen once, and never again: a second after the lag the camera is quiet.
    assert offered(gate, 24.0, 18.04) == [18.4, 18.6, 18.8, 19.0, 19.2, 20.0, 22.0]


def test_a_frame_that_was_dropped_is_made_up_for_by_the_next() -> None:
    gate = FrameGate(make_plan(attention=True))
    offered(gate, 19.0)
    gate.count_stale()
    gate.done()
    assert offered(gate, 19.1, 19.0) == [19.0]


def test_a_frame_says_when_nothing_moved_before_it() -> None:
    gate = FrameGate(make_plan(attention=True))
    offered(gate, 18.04)
    for n in range(51):
        due = gate.offer(START_US + 18_040_000 + n * 40_000, lambda: LUMA)
        if due is not None:
            break
    assert due is not None
    assert due.urgency is Urgency.HEARTBEAT
    assert [(at_us - START_US) // 1_000 for at_us in due.quiet_us] == [
        18_200 + n * 200 for n in range(9)
    ]


def test_attention_goes_on_and_off_with_the_plan() -> None:
    gate = FrameGate(make_plan(attention=True))
    offered(gate, 20.0)
    for attention, begin_s, most in ((False, 20, 46), (True, 30, 16)):
        assert gate.offer(START_US + begin_s * 1_000_000, lambda: LUMA)
        gate.follow(make_plan(attention=attention))
        gate.done()
        # Five a second; or for two seconds, until the background is known, then heartbeats.
        assert most - 3 <= len(offered(gate, begin_s + 9.04, begin_s + 0.04)) <= most
    assert gate.skipped["quiet"] > 0
    assert gate.skipped["rate"] > 0
