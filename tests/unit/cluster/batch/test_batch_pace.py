"""A worker analyses no faster than its part of the tenant's quota."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.pace import Pace
from pipelines.clock import ManualClock


def paced(frames_per_s: float) -> tuple[Pace, ManualClock]:
    clock = ManualClock()
    return Pace(frames_per_s, clock, clock.advance), clock


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.integers(1, 8), st.floats(0, 5)), min_size=1, max_size=30),
)
def test_no_more_frames_than_the_rate(frames_per_s: float, groups: list[tuple[int, float]]) -> None:
    """Whenever the worker was away: what it may have is not saved up."""
    pace, clock = paced(frames_per_s)
    begun: list[tuple[float, int]] = []
    for frames, away_s in groups:
        clock.advance(away_s)
        pace.take(frames)
        begun.append((clock.monotonic(), frames))
    for first, (from_s, _) in enumerate(begun):
        for last in range(first + 1, len(begun)):
            before_last = sum(frames for _, frames in begun[first:last])
            assert (begun[last][0] - from_s) * frames_per_s >= before_last - 1e-3


def test_a_worker_that_is_slower_than_the_rate_never_waits() -> None:
    pace, clock = paced(10)
    for _ in range(20):
        pace.take(1)
        clock.advance(0.1)
    assert clock.monotonic() == pytest.approx(2.0)


def test_without_a_limit_nothing_waits() -> None:
    pace, clock = paced(math.inf)
    for _ in range(1000):
        pace.take(8)
    assert clock.monotonic() == 0.0
