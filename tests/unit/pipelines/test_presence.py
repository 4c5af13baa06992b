"""The state machines of zones and lines: every transition, and robustness against jitter."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.presence import (
    LEAVE_US,
    TRANSITIONS,
    Crossing,
    FootPosition,
    LineState,
    ZonePhase,
    ZoneState,
    border,
)
from tests.unit.pipelines.properties import PROPERTY

ZONE = ((0.4, 0.4), (0.8, 0.4), (0.8, 0.8), (0.4, 0.8))
HEIGHT = 0.2
BORDER = border(HEIGHT)
IN, OUT = (0.6, 0.6), (0.2, 0.6)
ON_BORDER = (0.4 - BORDER / 2, 0.6)
A, B = (0.5, 0.0), (0.5, 1.0)


def test_the_table_is_complete() -> None:
    assert set(TRANSITIONS) == set(product(ZonePhase, FootPosition))


def update(state: ZoneState, foot: tuple[float, float], at_s: float) -> bool:
    return state.update(foot, HEIGHT, ZONE, round(at_s * 1e6))


@pytest.mark.parametrize(
    ("path", "phase", "entries"),
    [
        ([(0, OUT)], ZonePhase.OUTSIDE, 0),
        ([(0, IN)], ZonePhase.INSIDE, 1),
        ([(0, ON_BORDER)], ZonePhase.OUTSIDE, 0),
        ([(0, OUT), (1, IN)], ZonePhase.INSIDE, 1),
        ([(0, IN), (1, ON_BORDER)], ZonePhase.INSIDE, 1),
        ([(0, IN), (9, ON_BORDER), (99, ON_BORDER)], ZonePhase.INSIDE, 1),
        ([(0, IN), (1, OUT)], ZonePhase.LEAVING, 1),
        ([(0, IN), (1, OUT), (2.9, OUT)], ZonePhase.LEAVING, 1),
        ([(0, IN), (1, OUT), (2, IN)], ZonePhase.INSIDE, 1),
        ([(0, IN), (1, OUT), (2, ON_BORDER)], ZonePhase.LEAVING, 1),
        ([(0, IN), (1, OUT), (3, OUT)], ZonePhase.OUTSIDE, 1),
        ([(0, IN), (1, OUT), (3, OUT), (4, IN)], ZonePhase.INSIDE, 2),
        # Clear of the zone when lost, inside when found: it left in between.
        ([(0, IN), (1, OUT), (5, IN)], ZonePhase.INSIDE, 2),
        # Inside when lost, inside when found: it did not.
        ([(0, IN), (500, IN)], ZonePhase.INSIDE, 1),
    ],
)
def test_paths(
    path: list[tuple[float, tuple[float, float]]], phase: ZonePhase, entries: int
) -> None:
    state = ZoneState()
    entered = [update(state, foot, at_s) for at_s, foot in path]
    assert (state.phase, state.entries, sum(entered)) == (phase, entries, entries)


feet = st.tuples(st.floats(0, 1), st.floats(0, 1))


@PROPERTY
@given(st.lists(st.tuples(feet, st.floats(0.01, 5)), max_size=40))
def test_entries_need_a_complete_exit_in_between(
    path: list[tuple[tuple[float, float], float]],
) -> None:
    state, now, last_within = ZoneState(), 0.0, None
    for foot, step in path:
        now += step
        entered = update(state, foot, now)
        within = 0.4 <= foot[0] <= 0.8 and 0.4 <= foot[1] <= 0.8
        if entered:
            assert within
            assert last_within is None or now - last_within >= LEAVE_US / 1e6
        if within:
            assert state.phase is ZonePhase.INSIDE
            last_within = now


@PROPERTY
@given(st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=60), st.floats(0.02, 0.6))
def test_jitter_on_a_line_never_crosses(tremble: list[float], height: float) -> None:
    state = LineState()
    feet = [(0.5 + t * border(height), 0.5) for t in tremble]
    assert [state.update(foot, height, A, B) for foot in feet] == [None] * len(feet)


@PROPERTY
@given(st.lists(feet, min_size=2, max_size=30))
def test_reversing_the_line_swaps_directions(path: list[tuple[float, float]]) -> None:
    forth, back = LineState(), LineState()
    swap = {
        None: None,
        Crossing.LEFT_TO_RIGHT: Crossing.RIGHT_TO_LEFT,
        Crossing.RIGHT_TO_LEFT: Crossing.LEFT_TO_RIGHT,
    }
    path = [(x if abs(x - 0.5) > 1e-6 else 0.6, y) for x, y in path]
    for foot in path:
        assert forth.update(foot, HEIGHT, A, B) == swap[back.update(foot, HEIGHT, B, A)]


@PROPERTY
@given(st.lists(feet, min_size=2, max_size=30))
def test_directions_alternate(path: list[tuple[float, float]]) -> None:
    state = LineState()
    crossings = [c for foot in path if (c := state.update(foot, HEIGHT, A, B)) is not None]
    assert all(a != b for a, b in pairwise(crossings))


@PROPERTY
@given(st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0, 1)), min_size=2, max_size=12))
def test_walking_a_path_back_crosses_back(path: list[tuple[float, float]]) -> None:
    """From a clear start to a clear end, on a line that cannot be walked around."""
    path = [(0.1, 0.5), *path, (0.9, 0.5)]

    def balance(feet: list[tuple[float, float]]) -> int:
        state = LineState()
        crossings = [state.update(foot, HEIGHT, A, B) for foot in feet]
        return crossings.count(Crossing.RIGHT_TO_LEFT) - crossings.count(Crossing.LEFT_TO_RIGHT)

    # The line points down the picture, so its right hand is at the left.
    assert balance(path) == 1
    assert balance(path[::-1]) == -1


def test_around_the_end_is_not_through() -> None:
    short = ((0.5, 0.4), (0.5, 0.6))
    state = LineState()
    for foot in [(0.3, 0.5), (0.3, 0.9), (0.5, 0.9), (0.7, 0.9), (0.7, 0.5)]:
        assert state.update(foot, HEIGHT, *short) is None
    # ... and through it from there counts.
    assert state.update((0.3, 0.5), HEIGHT, *short) is Crossing.LEFT_TO_RIGHT


def test_coming_out_of_a_door_at_the_line_counts() -> None:
    state = LineState()
    assert state.update((0.5 - BORDER / 2, 0.5), HEIGHT, A, B) is None
    assert state.update((0.7, 0.5), HEIGHT, A, B) is Crossing.RIGHT_TO_LEFT
