"""How long a camera was analysed and blind: statements in any order give one account of each
moment, and reports give the statements that the clock of the test says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ledger import (
    MAX_STRETCHES,
    SLOT_US,
    CameraLedger,
    Cover,
    CoverageReport,
    Run,
    Stretch,
    bounded,
    by_slot,
    joined,
    merge,
    merge_all,
)
from tests.unit.pipelines.properties import PROPERTY

S = 1_000_000
T0 = 1_700_000_000 * S // SLOT_US * SLOT_US
STRONGEST_FIRST = [
    Cover.BLACK,
    Cover.GLARE,
    Cover.COVERED,
    Cover.FROZEN,
    Cover.BLURRED,
    Cover.ANALYSED,
    Cover.OFF,
    Cover.CAMERA,
    Cover.ROOM,
    Cover.DETECTOR,
    Cover.WATCHER,
    Cover.CONNECTING,
    Cover.UNOBSERVED,
]

stretches = st.lists(
    st.builds(
        lambda start, length, cover: Stretch(start, start + length, cover),
        st.integers(0, 60),
        st.integers(1, 30),
        st.sampled_from(Cover),
    ),
    max_size=8,
)


def moments(told: list[Stretch]) -> dict[int, Cover]:
    """What holds at each unit of time, said moment by moment."""
    return {
        at: min((s.cover for s in told if s.start_us <= at < s.end_us), key=STRONGEST_FIRST.index)
        for at in range(100)
        if any(s.start_us <= at < s.end_us for s in told)
    }


@given(stretches, stretches)
@PROPERTY
def test_a_moment_is_what_the_strongest_statement_says(
    one: list[Stretch], other: list[Stretch]
) -> None:
    merged = merge(merge_all(one), merge_all(other))
    assert moments(list(merged)) == moments([*one, *other])
    assert all(a.end_us <= b.start_us for a, b in pairwise(merged))
    assert list(merged) == joined(merged)


@given(stretches, stretches)
@PROPERTY
def test_statements_may_come_twice_and_in_any_order(
    one: list[Stretch], other: list[Stretch]
) -> None:
    a, b = merge_all(one), merge_all(other)
    assert merge(a, b) == merge(b, a) == merge(merge(a, b), b)


def test_slots_share_a_stretch_out() -> None:
    long = Stretch(T0 - 5 * S, T0 + SLOT_US + 7 * S, Cover.CAMERA)
    parts = by_slot([long])
    assert {slot: sum(s.end_us - s.start_us for s in of) for slot, of in parts.items()} == {
        T0 - SLOT_US: 5 * S,
        T0: SLOT_US,
        T0 + SLOT_US: 7 * S,
    }
    assert joined(s for slot in sorted(parts) for s in parts[slot]) == [long]


def test_a_camera_that_comes_and_goes_all_the_time_has_a_row_of_limited_size() -> None:
    """It is analysed for 600 ms of each second."""
    told = [
        stretch
        for at in range(T0, T0 + SLOT_US, S)
        for stretch in (
            Stretch(at, at + 600_000, Cover.ANALYSED),
            Stretch(at + 600_000, at + S, Cover.WATCHER),
        )
    ]
    kept = bounded(T0, told)
    assert len(kept) <= MAX_STRETCHES < len(told)
    assert (kept[0].start_us, kept[-1].end_us) == (T0, T0 + SLOT_US)
    assert bounded(T0, told[:4]) == tuple(told[:4])


# ------------------------------------------------------------ runs


@pytest.mark.parametrize(
    ("fps", "gap_s", "breaks"),
    [(5, 1.9, False), (5, 2.1, True), (0.5, 5.9, False), (0.5, 6.1, True)],
)
def test_a_run_ends_with_a_gap_that_the_rate_does_not_explain(
    fps: float, gap_s: float, breaks: bool
) -> None:
    run = Run()
    run.step(T0, fps)
    run.step(T0 + round(gap_s * S), fps)
    assert run.from_us == (T0 + round(gap_s * S) if breaks else T0)


def test_a_clock_that_is_set_back_begins_a_run() -> None:
    run = Run()
    run.step(T0, 5)
    run.step(T0 - 3_600 * S, 5)
    assert run.from_us == T0 - 3_600 * S


# ------------------------------------------------------------ reports


def account(reports: list[CoverageReport]) -> dict[Cover, float]:
    """Seconds by what held, over all reports."""
    ledger = CameraLedger()
    told = [stretch for report in reports for stretch in ledger.observe(report)]
    spent = Counter[Cover]()
    for start_us, end_us, cover in merge_all(told):
        spent[cover] += end_us - start_us
    return {cover: us / S for cover, us in spent.items()}


def good(at_s: float, from_s: float, lag_s: float = 0.5) -> CoverageReport:
    at_us = T0 + round(at_s * S)
    return CoverageReport(at_us, None, (T0 + round(from_s * S), at_us - round(lag_s * S)))


def blind(at_s: float, cover: Cover) -> CoverageReport:
    return CoverageReport(T0 + round(at_s * S), cover)


def test_a_camera_that_is_analysed_is_blind_for_no_moment() -> None:
    assert account([good(at, 0) for at in range(2, 62, 2)]) == {Cover.ANALYSED: 59.5}


def test_a_round_that_takes_long_makes_no_camera_blind() -> None:
    assert account([good(2, 0), good(20, 0), good(22, 0)]) == {Cover.ANALYSED: 21.5}


def test_a_gap_lasts_from_the_last_analysed_frame_to_the_next() -> None:
    """The last frame was of second 9.5, the first of the new run of second 21."""
    reports = [
        good(10, 0),
        # Not yet said to be blind: nothing is known of what follows the last frame.
        good(12, 0, lag_s=2.5),
        blind(16, Cover.CAMERA),
        blind(18, Cover.CAMERA),
        good(22, 21),
        good(24, 21),
    ]
    assert account(reports) == {Cover.ANALYSED: 9.5 + 2.5, Cover.CAMERA: 11.5}


def test_a_gap_that_no_round_saw_counts_for_the_watcher() -> None:
    assert account([good(10, 0), good(12, 0), good(18, 16)]) == {
        Cover.ANALYSED: 11.5 + 1.5,
        Cover.WATCHER: 4.5,
    }


def test_an_old_cause_does_not_explain_a_later_gap() -> None:
    reports = [good(2, 0), blind(10, Cover.CAMERA), good(14, 12), good(20, 12), good(30, 27)]
    assert account(reports)[Cover.CAMERA] == 12 - 1.5
    assert account(reports)[Cover.WATCHER] == 27 - 19.5


def test_switched_off_is_not_blind() -> None:
    reports = [good(2, 0), blind(4, Cover.OFF), blind(60, Cover.OFF)]
    assert account(reports) == {Cover.ANALYSED: 1.5, Cover.OFF: 58.5}
    assert not Cover.OFF.blind


def test_a_controller_that_starts_again_learns_what_was_analysed_meanwhile() -> None:
    ledger = CameraLedger()
    assert ledger.observe(good(600, 5)) == [Stretch(T0 + 5 * S, T0 + 599_500_000, Cover.ANALYSED)]
    assert ledger.first_us == T0 + 5 * S


def test_a_run_of_days_is_told_for_two_hours() -> None:
    (told,) = CameraLedger().observe(good(86_400, 0))
    assert told.start_us == T0 + (86_400 - 7_200) * S


def test_frames_of_the_future_count_until_now() -> None:
    (told,) = CameraLedger().observe(CoverageReport(T0 + 10 * S, None, (T0, T0 + 90 * S)))
    assert told == Stretch(T0, T0 + 10 * S, Cover.ANALYSED)


def test_a_picture_that_shows_nothing_is_blind_from_its_begin() -> None:
    """It turned black in second 5, which is known in second 20; it is over in second 32."""
    black = (Cover.BLACK, T0 + 5 * S)
    reports = [good(at, 0) for at in range(2, 20, 2)]
    reports += [replace(good(at, 0), fault=black) for at in range(20, 32, 2)]
    reports += [good(at, 0) for at in range(32, 42, 2)]
    assert account(reports) == {Cover.ANALYSED: 5 + 10, Cover.BLACK: 24.5}
    assert reports[-1].cause is None
    assert reports[10].cause is Cover.BLACK
