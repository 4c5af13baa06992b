"""Hours of a time zone, and seconds on a grid, against sums done by hand."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analytics import SLOT_US, HeatMap, hour_of, per_hour
from tests.unit.pipelines.properties import PROPERTY

S = 1_000_000


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


@pytest.mark.parametrize(
    ("zone", "at", "hour"),
    [
        ("UTC", "2026-01-31T08:59:59+00:00", "2026-01-31T08:00:00+00:00"),
        ("America/Sao_Paulo", "2026-01-31T08:15:00+00:00", "2026-01-31T05:00:00-03:00"),
        ("Asia/Kolkata", "2026-01-31T08:15:00+00:00", "2026-01-31T13:00:00+05:30"),
        ("Asia/Kathmandu", "2026-01-31T08:15:00+00:00", "2026-01-31T14:00:00+05:45"),
        # Lisbon sets its clocks back at 01:00 UTC on 25 October: 01:30 comes twice.
        ("Europe/Lisbon", "2026-10-25T00:30:00+00:00", "2026-10-25T01:00:00+01:00"),
        ("Europe/Lisbon", "2026-10-25T01:30:00+00:00", "2026-10-25T01:00:00+00:00"),
    ],
)
def test_the_hour_of_a_time(zone: str, at: str, hour: str) -> None:
    assert hour_of(micros(at), ZoneInfo(zone)).isoformat() == hour


def test_quarters_add_up_to_hours() -> None:
    """In India hours begin at half past of UTC."""
    first = micros("2026-01-31T08:15:00+00:00")
    counts = [
        (first, "gate", "person", 1),
        (first + SLOT_US, "gate", "person", 2),
        (first + 4 * SLOT_US, "gate", "person", 4),
        (first + 4 * SLOT_US, "yard", "person", 8),
        (first + 4 * SLOT_US, "gate", "car", 16),
        (first + 5 * SLOT_US, "gate", "person", 32),
    ]

    hours = per_hour(counts, ZoneInfo("Asia/Kolkata"))

    assert [(start.isoformat()[11:16], *rest) for start, *rest in hours] == [
        ("13:00", "gate", "person", 1),
        ("14:00", "gate", "car", 16),
        ("14:00", "gate", "person", 6),
        ("14:00", "yard", "person", 8),
        ("15:00", "gate", "person", 32),
    ]


def test_an_hour_that_comes_twice_is_two() -> None:
    counts = [(micros(f"2026-10-25T0{h}:30:00+00:00"), "gate", "person", h + 1) for h in range(3)]

    hours = per_hour(counts, ZoneInfo("Europe/Lisbon"))

    assert [(start.isoformat(), count) for start, _, _, count in hours] == [
        ("2026-10-25T01:00:00+01:00", 1),
        ("2026-10-25T01:00:00+00:00", 2),
        ("2026-10-25T02:00:00+00:00", 3),
    ]


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 9)), max_size=40),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns", "Europe/Lisbon"]),
)
def test_nothing_is_lost_in_any_zone(slots: list[tuple[int, int]], zone: str) -> None:
    counts = [(10**15 // SLOT_US * SLOT_US + n * SLOT_US, "c", "person", k) for n, k in slots]
    hours = per_hour(counts, ZoneInfo(zone))

    assert sum(hour[3] for hour in hours) == sum(count for _, count in slots)
    assert [hour[0] for hour in hours] == sorted({hour[0] for hour in hours})


def heat(
    *paths: tuple[str, int, list[tuple[int, int, int, int, int]]],
    between: tuple[int, int] = (0, 10**9 * S),
    grid: tuple[int, int] = (2, 2),
) -> list[list[float]]:
    """All at once, and one by one: the same."""
    whole, single = HeatMap(*grid, *between), HeatMap(*grid, *between)
    whole.add(paths)
    for path in paths:
        single.add([path])
    seconds: list[list[float]] = whole.seconds().round(6).tolist()
    assert single.seconds().round(6).tolist() == seconds
    return seconds


LEFT_TOP, RIGHT_TOP = (1000, 1000, 2000, 4000), (8000, 1000, 9000, 4000)
LEFT_LOW, RIGHT_LOW = (1000, 4000, 2000, 9000), (8000, 4000, 9000, 10_000)


def test_a_walk_over_the_grid() -> None:
    """1 s above left, 0.5 s above right, then 0.5 s below right: as long as the one before."""
    points = [(0, *LEFT_TOP), (1000, *RIGHT_TOP), (1500, *RIGHT_LOW)]

    assert heat(("t", S, points)) == [[1.0, 0.5], [0.0, 0.5]]


def test_the_next_path_of_a_track_says_how_long_the_last_point_was() -> None:
    first, second = [(4000, *LEFT_LOW), (4500, *LEFT_LOW)], [(500, *RIGHT_LOW)]

    assert heat(("t", 0, first), ("t", 5 * S, second)) == [[0, 0], [1.5, 1.0]]
    assert heat(("t", 0, first), ("u", 5 * S, second)) == [[0, 0], [1.0, 0]]


def test_tracks_side_by_side() -> None:
    """Interleaved, as they come from the records."""
    paths = [
        ("t", 0, [(0, *LEFT_TOP), (500, *LEFT_TOP)]),
        ("u", 0, [(200, *RIGHT_LOW)]),
        ("t", S, [(0, *LEFT_LOW), (250, *LEFT_LOW)]),
        ("u", S, [(200, *RIGHT_TOP)]),
    ]

    # t: 1 s above, then 0.25 s twice below; u: 1 s below, and 1 s above because nothing follows.
    assert heat(*paths) == [[1.0, 1.0], [0.5, 1.0]]


def test_a_gap_counts_for_two_seconds_only() -> None:
    assert heat(("t", 0, [(0, *LEFT_TOP), (60_000, *LEFT_TOP)])) == [[4.0, 0], [0, 0]]


def test_only_time_in_the_requested_range_counts() -> None:
    points = [(n * 1000, *RIGHT_LOW) for n in range(10)]

    assert heat(("t", 0, points), between=(2_500_000, 4 * S)) == [[0, 0], [0, 1.5]]
    assert heat(("t", 0, points), between=(60 * S, 90 * S)) == [[0, 0], [0, 0]]


def test_corners_are_on_the_grid() -> None:
    corner = (10_000, 10_000, 10_000, 10_000)

    assert heat(("t", 0, [(0, *corner), (1000, *corner)]), grid=(1, 3)) == [[0], [0], [2.0]]
    assert heat(grid=(3, 1)) == [[0, 0, 0]]


@PROPERTY
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_grid_does_not_change_the_sum(columns: int, rows: int, seed: int) -> None:
    """49 steps of 0.2 s, and the last point once more."""
    corners = np.random.default_rng(seed).integers(0, 10_001, (50, 4)).tolist()
    points = [(n * 200, *box) for n, box in enumerate(corners)]

    assert np.sum(heat(("t", 0, points), grid=(columns, rows))) == pytest.approx(10)
