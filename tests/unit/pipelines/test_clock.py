"""The rate of events from their times."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clock import rate_per_s


@pytest.mark.parametrize("times", [(), (5,), (5, 5), (9, 5)])
def test_fewer_than_two_events_have_no_rate(times: tuple[int, ...]) -> None:
    assert rate_per_s(times) == 0.0


@given(st.integers(2, 100), st.integers(1_000, 10_000_000), st.integers(0, 10**15))
def test_even_steps_give_their_frequency(count: int, step_us: int, start_us: int) -> None:
    times = deque(start_us + step_us * n for n in range(count))
    assert rate_per_s(times) == pytest.approx(1e6 / step_us, abs=0.005 + 1e-9)
