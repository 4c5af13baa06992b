"""Alarms that come again and again are limited, and those left out are counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.alarm_limit import AlarmLimit

HOUR_S = 3600.0


def raised(limit: AlarmLimit, source: str, event: object, now_s: float) -> int | None:
    """How many were left out before this one; None: it is left out itself."""
    return limit.take(source, event, now_s) if limit.has_room(source, event, now_s) else None


def test_the_first_ones_come_at_once_and_those_left_out_are_counted() -> None:
    limit = AlarmLimit(3, HOUR_S)
    every_15_s = [raised(limit, "gate", n, n * 15.0) for n in range(240)]
    assert every_15_s == [0, 0, 0, *[None] * 237]
    assert raised(limit, "gate", 240, HOUR_S) == 237
    assert raised(limit, "yard", 240, HOUR_S) == 0


def test_one_that_is_asked_for_again_counts_once_and_comes_when_there_is_room() -> None:
    limit = AlarmLimit(1, HOUR_S)
    assert raised(limit, "gate", "a", 0) == 0
    assert [raised(limit, "gate", "b", float(s)) for s in range(1, 60)] == [None] * 59
    assert [raised(limit, "gate", "c", float(s)) for s in range(60, 90)] == [None] * 30
    assert raised(limit, "gate", "c", HOUR_S) == 1


def test_memory_is_that_of_the_last_window() -> None:
    limit = AlarmLimit(1, HOUR_S)
    for n in range(100):
        raised(limit, f"cam-{n}", 0, 0)
    assert raised(limit, "gate", 0, 2 * HOUR_S) == 0
    assert len(limit) == 1


@given(st.lists(st.floats(0, 600), max_size=200), st.integers(1, 5))
def test_no_window_has_more_and_none_is_lost_from_the_count(pauses: list[float], most: int) -> None:
    limit, now_s, at_s, counted = AlarmLimit(most, HOUR_S), 0.0, list[float](), 0
    for number, pause_s in enumerate(pauses):
        now_s += pause_s
        left_out = raised(limit, "gate", number, now_s)
        if left_out is not None:
            at_s.append(now_s)
            counted += 1 + left_out
    for one in at_s:
        assert len([other for other in at_s if one <= other < one + HOUR_S]) <= most
    counted += raised(limit, "gate", "end", now_s + HOUR_S) or 0
    assert counted == len(pauses)
