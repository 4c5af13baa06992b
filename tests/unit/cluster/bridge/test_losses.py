"""Access units are handed over one by one, and what the SDK loses is noticed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.bridge.losses import Loss, LossWatch, Spacing

NOTHING = Loss(0, damaged=False)


STEP_US = 40_000
"""25 frames/s."""


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=50))
def test_units_are_apart_and_wait_no_longer_than_they_must(gaps: list[float]) -> None:
    spacing = Spacing()
    now_s = 100.0
    handed: list[float] = []
    for n, gap in enumerate(gaps, start=1):
        now_s += gap  # when the unit is there
        wait_s = spacing.wait_s(now_s, n * STEP_US)
        free_s = handed[-1] + 0.02 if handed else now_s
        assert wait_s == pytest.approx(max(0.0, free_s - now_s), abs=1e-9)
        now_s += wait_s
        handed.append(now_s)
    assert all(b - a >= 0.02 - 1e-9 for a, b in itertools.pairwise(handed))


def test_a_burst_is_caught_up_with_at_twice_the_rate() -> None:
    spacing = Spacing()
    now_s = 5.0
    for n in range(1, 14):  # 13 frames of a camera of 60 frames/s, all there at once
        now_s += spacing.wait_s(now_s, round(n * 1e6 / 60))
    assert now_s == pytest.approx(5.0 + 12 / 120, abs=1e-4)


@pytest.mark.parametrize("fps", [1, 25, 60, 120])
def test_a_camera_at_its_usual_rate_never_waits(fps: int) -> None:
    spacing = Spacing()
    assert {spacing.wait_s(n / fps, round(n * 1e6 / fps)) for n in range(100)} == {0.0}


def test_what_is_on_the_way_is_not_lost() -> None:
    watch = LossWatch()
    for accepted, encoded in ((10, 9), (20, 20), (30, 29), (40, 41), (50, 49), (60, 60)):
        assert watch.check(accepted, 1, encoded) == NOTHING


def test_what_is_missing_twice_is_lost_and_counted_once() -> None:
    watch = LossWatch()
    assert watch.check(10, 1, 10) == NOTHING
    assert watch.check(20, 1, 17) == NOTHING
    assert watch.check(30, 1, 28) == Loss(2, damaged=True)
    assert watch.check(40, 1, 38) == NOTHING
    assert watch.check(50, 1, 47) == NOTHING
    assert watch.check(60, 1, 57) == Loss(1, damaged=True)


def test_a_key_frame_since_the_loss_has_mended_the_picture() -> None:
    watch = LossWatch()
    assert watch.check(10, 1, 10) == NOTHING
    assert watch.check(20, 1, 18) == NOTHING
    assert watch.check(30, 2, 28) == Loss(2, damaged=False)


def test_a_key_frame_from_about_the_time_of_the_loss_counts_as_after_it() -> None:
    watch = LossWatch()
    assert watch.check(10, 1, 10) == NOTHING
    assert watch.check(20, 2, 18) == NOTHING
    assert watch.check(30, 2, 28) == Loss(2, damaged=False)
    assert watch.check(40, 2, 37) == NOTHING
    assert watch.check(50, 2, 47) == Loss(1, damaged=True)


def test_what_is_lost_while_a_track_begins_damages_nothing() -> None:
    """Receivers begin with a key frame."""
    watch = LossWatch()
    assert watch.check(10, 1, 0) == NOTHING
    assert watch.check(20, 1, 12) == Loss(8, damaged=False)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=30))
def test_all_losses_are_found_once_they_have_stood(steps: list[tuple[int, int]]) -> None:
    """Each step: units that were handed over, and how many of them were lost."""
    watch = LossWatch()
    accepted = encoded = found = 0
    for units, lost in [*steps, (0, 0), (0, 0)]:
        accepted += units
        encoded += units - min(units, lost)
        found += watch.check(accepted, 1, encoded).units
    assert found == accepted - encoded
