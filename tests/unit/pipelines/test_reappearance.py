"""Matching of new detections with lost objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import PixelBox
from pipelines.reappearance import (
    MOVING_MEMORY_US,
    STANDING_MEMORY_MAX_US,
    STANDING_MEMORY_MIN_US,
    S,
    memory_us,
    same_place,
    within_reach,
)
from tests.unit.pipelines.properties import PROPERTY

CAR: PixelBox = (100, 100, 200, 160)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (CAR, True),
        ((103, 98, 204, 161), True),  # trembles
        ((140, 100, 200, 160), True),  # its front is hidden
        ((100, 100, 200, 130), True),  # its wheels are hidden
        ((170, 100, 200, 160), True),  # more of it is hidden
        ((193, 100, 200, 160), False),  # too little of it to say
        ((135, 100, 235, 160), False),  # a third of its length on
        ((70, 80, 230, 190), False),  # comes nearer
        ((300, 100, 400, 160), False),
        ((150, 150, 150, 150), False),
    ],
)
def test_same_place(now: PixelBox, same: bool) -> None:
    assert same_place(CAR, now) is same


boxes = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(1, 200), st.floats(1, 200)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@PROPERTY
@given(boxes, boxes, st.integers(0, 10 * S), st.floats(0.1, 10))
def test_scale_does_not_matter(one: PixelBox, other: PixelBox, gap: int, scale: float) -> None:
    def scaled(box: PixelBox) -> PixelBox:
        return (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)

    def nudged(box: PixelBox) -> PixelBox:
        # Off the thresholds, where rounding decides.
        return (box[0], box[1], box[2] + 1e-7, box[3] + 1e-7)

    for decide in (same_place, lambda a, b: within_reach(a, b, gap)):
        if decide(one, other) == decide(one, nudged(other)):
            assert decide(scaled(one), scaled(other)) == decide(one, other)


@PROPERTY
@given(boxes, boxes, st.integers(0, 10 * S), st.integers(0, 10 * S))
def test_reach_grows_with_time(one: PixelBox, other: PixelBox, gap: int, more: int) -> None:
    assert not within_reach(one, other, gap) or within_reach(one, other, gap + more)


def test_reach_is_in_box_sizes() -> None:
    person: PixelBox = (100, 100, 140, 200)
    step: PixelBox = (130, 100, 170, 200)
    run: PixelBox = (190, 100, 230, 200)
    assert within_reach(person, step, 0)
    assert not within_reach(person, run, 0)
    assert within_reach(person, run, 2 * S)
    assert not within_reach(person, (100, 150, 140, 200), 2 * S)  # half as tall


@PROPERTY
@given(st.booleans(), st.integers(0, 10**12), st.integers(0, 10**12))
def test_memory_is_bounded_and_grows_with_standing(confirmed: bool, stood: int, more: int) -> None:
    memory = memory_us(confirmed=confirmed, stationary_us=stood)
    assert memory <= memory_us(confirmed=confirmed, stationary_us=stood + more)
    assert 0 < memory <= STANDING_MEMORY_MAX_US


def test_memory_of_each_kind() -> None:
    assert memory_us(confirmed=False, stationary_us=3600 * S) == 2 * S
    assert memory_us(confirmed=True, stationary_us=0) == MOVING_MEMORY_US
    assert memory_us(confirmed=True, stationary_us=10 * S) == STANDING_MEMORY_MIN_US
    assert memory_us(confirmed=True, stationary_us=600 * S) == 1200 * S
