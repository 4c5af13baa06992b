"""Never more than the rate in any window, whatever the order of calls."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.rates import SLICES, Charge, MemoryRates, Rate, Use, counts

MINUTE = Rate(amount=10, window_s=60.0)


def charge(cost: int = 1, key: str = "a", rate: Rate = MINUTE) -> Charge:
    return Charge(key, rate, cost)


def most_in_a_window(taken: list[tuple[float, int]], window_s: float) -> int:
    """The most units that any window of this length holds: one of them begins with a call."""
    return max(
        (sum(c for at, c in taken if start <= at < start + window_s) for start, _ in taken),
        default=0,
    )


@given(
    amount=st.integers(1, 12),
    window_s=st.sampled_from([1.0, 7.0, 60.0]),
    start_s=st.floats(0, 1_000),
    calls=st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 5)), max_size=80),
)
def test_no_window_holds_more_than_the_rate(
    amount: int, window_s: float, start_s: float, calls: list[tuple[float, int]]
) -> None:
    rates, rate, now_s = MemoryRates(), Rate(amount, window_s), start_s
    taken: list[tuple[float, int]] = []
    for wait, cost in calls:
        now_s += wait * window_s
        if rates.take([charge(cost, rate=rate)], now_s).allowed:
            taken.append((now_s, cost))
    assert most_in_a_window(taken, window_s) <= amount


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10)), min_size=1, max_size=40))
def test_what_is_refused_fits_after_the_time_that_was_told(
    calls: list[tuple[float, int]],
) -> None:
    rates, now_s = MemoryRates(), 0.0
    for wait, cost in calls:
        now_s += wait
        taken = rates.take([charge(cost)], now_s)
        if not taken.allowed:
            # At most a window and a slice; a microsecond for what floats round off.
            assert taken.uses[0].wait_s <= 60.0 + 60.0 / SLICES
            now_s += taken.uses[0].wait_s + 1e-6
            assert rates.take([charge(cost)], now_s).allowed


@given(st.lists(st.integers(0, 3), max_size=60))
def test_whoever_stays_below_the_rate_is_never_refused(gaps: list[int]) -> None:
    """A tenth of the rate in each tenth of a window and a slice."""
    rates, now_s = MemoryRates(), 0.0
    for gap in gaps:
        now_s += 6.3 + gap
        assert rates.take([charge()], now_s).allowed


def test_all_or_none() -> None:
    rates = MemoryRates()
    small = Charge("small", Rate(1, 60.0), 1)
    assert rates.take([charge(3), small], 0.0).allowed
    refused = rates.take([charge(3), small], 1.0)
    assert not refused.allowed
    assert [use.used for use in refused.uses] == [3, 1]
    assert rates.take([charge(7)], 2.0).allowed


def test_keys_are_apart() -> None:
    rates = MemoryRates()
    assert rates.take([charge(10, "a")], 0.0).allowed
    assert not rates.take([charge(1, "a")], 0.0).allowed
    assert rates.take([charge(10, "b")], 0.0).allowed


def test_a_charge_over_the_rate_never_fits() -> None:
    taken = MemoryRates().take([charge(11)], 0.0)
    assert taken.uses == (Use(0, math.inf, 60.0),)


def test_asking_costs_nothing() -> None:
    rates = MemoryRates()
    assert rates.take([charge(4)], 0.0).allowed
    for _ in range(20):
        [use] = rates.take([charge(0)], 30.0).uses
        # The slice of the first three seconds leaves with the end of the next window's first one.
        assert use == Use(4, 0.0, 33.0)


def test_a_lower_limit_counts_what_was_used() -> None:
    rates = MemoryRates()
    assert rates.take([charge(8)], 0.0).allowed
    lower = Rate(5, 60.0)
    assert not rates.take([charge(1, rate=lower)], 1.0).allowed
    assert rates.take([charge(5, rate=lower)], 63.0).allowed


def test_what_is_given_back_is_there_again() -> None:
    rates = MemoryRates()
    assert rates.take([charge(10)], 0.0).allowed
    rates.give_back([charge(10)], 0.0)
    assert rates.take([charge(10)], 0.0).allowed
    # What left the window meanwhile is not given back to somebody else.
    rates.take([charge(0)], 70.0)
    rates.give_back([charge(10)], 0.0)
    assert rates.take([charge(10)], 70.0).allowed
    assert not rates.take([charge(1)], 70.0).allowed


def test_memory_is_that_of_the_last_windows() -> None:
    rates = MemoryRates()
    for n in range(1_000):
        rates.take([charge(1, f"key-{n}")], n * 10.0)
    # Two windows of 60 s in steps of 10 s, and those of the window since the last sweep.
    assert len(rates) <= 12 + 6 + 1


@pytest.mark.parametrize(
    ("number", "expected"),
    [(100, True), (80, True), (79, False), (120, True), (121, False)],
)
def test_which_slices_count(number: int, expected: bool) -> None:
    assert counts(number, 100) is expected
