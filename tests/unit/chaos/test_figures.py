"""What a chaos run says follows from what viewers saw and what the records hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.figures import (
    STEADY_S,
    Blind,
    Expected,
    Raised,
    percentile,
    seconds_to_covered,
    tally,
)
from tests.chaos.report import Kill, Outcome

GATE, YARD = "acme.gate", "globex.yard"


def every(step_s: float, since_s: float, until_s: float) -> list[float]:
    return [since_s + n * step_s for n in range(int((until_s - since_s) / step_s) + 1)]


def test_boxes_that_never_stopped_cost_nothing() -> None:
    assert seconds_to_covered(every(0.2, 0.0, 20.0), 10.0, 20.0) == 0.0


def test_the_gap_after_the_kill_counts_to_its_end() -> None:
    arrivals = every(0.2, 0.0, 10.0) + every(0.2, 13.0, 20.0)
    assert seconds_to_covered(arrivals, 10.0, 20.0) == pytest.approx(3.0)


def test_a_second_gap_starts_the_waiting_anew() -> None:
    arrivals = every(0.2, 0.0, 10.0) + every(0.2, 12.0, 14.0) + every(0.2, 18.0, 30.0)
    assert seconds_to_covered(arrivals, 10.0, 30.0) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("arrivals", "now_s"),
    [
        ([], 60.0),
        (every(0.2, 0.0, 10.0), 60.0),
        (every(0.2, 0.0, 10.0) + every(0.2, 13.0, 14.0), 14.0),
        (every(0.2, 0.0, 10.0) + every(0.2, 13.0, 18.0), 30.0),
    ],
    ids=["never any", "none since", "not for long", "gone again"],
)
def test_what_is_not_over_has_no_end(arrivals: list[float], now_s: float) -> None:
    assert seconds_to_covered(arrivals, 10.0, now_s) is None


@given(st.floats(0.0, 20.0), st.floats(STEADY_S, 10.0))
def test_a_blind_time_is_as_long_as_it_was(blind_s: float, watched_s: float) -> None:
    back_s = 10.0 + blind_s
    arrivals = [9.9, 10.0, *every(0.25, back_s, back_s + watched_s)]
    found = seconds_to_covered(arrivals, 10.0, arrivals[-1] + 0.26)
    if watched_s >= STEADY_S + 0.5:
        assert found == pytest.approx(blind_s if blind_s > 1.0 else 0.0, abs=1e-6)


def test_an_alarm_of_every_moment_and_no_more_is_well() -> None:
    expected = [Expected(GATE, "zone", 10.0), Expected(GATE, "zone", 12.0)]
    raised = [Raised("a", GATE, "zone", 10.3), Raised("b", GATE, "zone", 12.2)]
    found = tally(expected, raised, ())
    assert (found.expected, found.lost, found.doubled, found.unexpected) == (2, (), (), ())


def test_a_missing_alarm_is_lost_and_a_second_one_doubled() -> None:
    expected = [Expected(GATE, "zone", 10.0), Expected(YARD, "line", 12.0)]
    raised = [Raised("a", GATE, "zone", 10.2), Raised("b", GATE, "zone", 10.9)]
    found = tally(expected, raised, ())
    assert found.lost == (expected[1],)
    assert [one.id for one in found.doubled] == ["b"]
    assert Outcome((), found).complaints() != []


def test_alarms_of_another_camera_or_rule_make_up_for_none() -> None:
    expected = [Expected(GATE, "zone", 10.0)]
    raised = [Raised("a", YARD, "zone", 10.0), Raised("b", GATE, "line", 10.0)]
    found = tally(expected, raised, ())
    assert found.lost == tuple(expected)
    assert {one.id for one in found.unexpected} == {"a", "b"}


@pytest.mark.parametrize(
    ("blind", "excused"),
    [
        (Blind(GATE, 8.0, 9.0), True),
        (Blind(GATE, 3.0, 7.0), True),
        (Blind(GATE, 1.0, 3.0), False),
        (Blind(GATE, 12.0, 15.0), False),
        (Blind(YARD, 8.0, 11.0), False),
    ],
    ids=["at the moment", "while it watched", "before", "after", "of another camera"],
)
def test_only_what_nobody_could_see_is_excused(blind: Blind, excused: bool) -> None:
    found = tally([Expected(GATE, "loiter", 10.0, watched_s=4.0)], [], [blind])
    assert (found.expected, found.blind) == ((0, 1) if excused else (1, 0))
    assert len(found.lost) == (0 if excused else 1)


def test_an_alarm_in_a_blind_time_that_was_raised_all_the_same_counts() -> None:
    found = tally(
        [Expected(GATE, "zone", 10.0)], [Raised("a", GATE, "zone", 10.1)], [Blind(GATE, 9.0, 11.0)]
    )
    assert (found.expected, found.lost, found.blind) == (1, (), 0)


@given(st.lists(st.floats(0.0, 100.0), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_is_one_of_the_values_that_so_many_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no value"):
        percentile([], 0.5)


def test_a_part_that_did_not_come_back_is_a_complaint() -> None:
    well = tally((), (), ())
    assert Outcome((Kill("api", 0.0),), well).complaints() == []
    assert Outcome((Kill("api", None),), well).complaints() == ["not covered again: api"]
