"""Scene time grows whatever a camera's clock does."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipelines.timeline import JUMP_US, LATE_US, Timeline
from tests.unit.pipelines.properties import PROPERTY

BREAK_US = 7_000_000


@PROPERTY
@given(st.lists(st.integers(0, 4_000_000_000_000_000), max_size=50))
def test_scene_time_strictly_grows(captures: list[int]) -> None:
    timeline = Timeline(BREAK_US)
    times = [t for capture in captures if (t := timeline.advance(capture)) is not None]
    assert all(a < b for a, b in itertools.pairwise(times))


@PROPERTY
@given(st.lists(st.integers(1, JUMP_US), max_size=50), st.integers(0, 10**15))
def test_scene_time_is_capture_time_where_that_only_grows(steps: list[int], start: int) -> None:
    timeline = Timeline(BREAK_US)
    timeline.advance(start)
    passed = 0
    for step in steps:
        passed += step
        assert timeline.advance(start + passed) == passed


def test_late_and_repeated_frames_are_skipped() -> None:
    timeline = Timeline(BREAK_US)
    assert timeline.advance(10 * LATE_US) == 0
    assert timeline.advance(10 * LATE_US) is None
    assert timeline.advance(9 * LATE_US) is None
    assert timeline.advance(10 * LATE_US + 5) == 5


def test_a_clock_jump_interrupts_the_timeline_but_does_not_end_it() -> None:
    timeline = Timeline(BREAK_US)
    timeline.advance(10**15)
    assert timeline.advance(0) == BREAK_US  # reset to 0 after a reconnect
    assert timeline.advance(40_000) == BREAK_US + 40_000
    assert timeline.advance(10**15) == 2 * BREAK_US + 40_000  # and found NTP again
