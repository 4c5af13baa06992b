"""Plane geometry, against independent implementations."""

from __future__ import annotations

import itertools
from math import atan2, cos, dist, pi, sin

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.geometry import (
    Point,
    area,
    distance_to_border,
    distance_to_segment,
    foot_point,
    inside_polygon,
    intersection,
    side_of_line,
    step_crosses,
    upright,
)
from tests.unit.pipelines.properties import PROPERTY

unit = st.floats(0, 1, allow_nan=False)
points = st.tuples(unit, unit)


@st.composite
def polygons(draw: st.DrawFn) -> tuple[Point, ...]:
    """Star-shaped around a centre, so simple, and mostly not convex."""
    n = draw(st.integers(3, 12))
    radii = draw(st.lists(st.floats(0.05, 0.5), min_size=n, max_size=n))
    turn = draw(st.floats(0, 2 * pi))
    clockwise = draw(st.booleans())
    corners = [
        (0.5 + r * cos(turn + 2 * pi * i / n), 0.5 + r * sin(turn + 2 * pi * i / n))
        for i, r in enumerate(radii)
    ]
    return tuple(reversed(corners)) if clockwise else tuple(corners)


def winding_number(p: Point, polygon: tuple[Point, ...]) -> int:
    """Turns of the border around `p`: another principle than counting crossings."""
    total = 0.0
    for i, b in enumerate(polygon):
        a = polygon[i - 1]
        turn = atan2(b[1] - p[1], b[0] - p[0]) - atan2(a[1] - p[1], a[0] - p[0])
        total += (turn + pi) % (2 * pi) - pi
    return round(total / (2 * pi))


@PROPERTY
@given(points, polygons())
def test_inside_agrees_with_the_winding_number(p: Point, polygon: tuple[Point, ...]) -> None:
    assume(distance_to_border(p, polygon) > 1e-6)
    assert inside_polygon(p, polygon) == (winding_number(p, polygon) != 0)


@PROPERTY
@given(points, polygons())
def test_inside_and_border_distance_agree_with_opencv(p: Point, polygon: tuple[Point, ...]) -> None:
    contour = np.array(polygon, dtype=np.float32)
    signed = cv2.pointPolygonTest(contour, p, measureDist=True)
    assume(abs(signed) > 1e-4)
    assert inside_polygon(p, polygon) == (signed > 0)
    assert distance_to_border(p, polygon) == pytest.approx(abs(signed), abs=1e-5)


@PROPERTY
@given(polygons(), st.integers(0, 11), unit)
def test_the_border_belongs_to_the_polygon(
    polygon: tuple[Point, ...], edge: int, share: float
) -> None:
    a, b = polygon[edge % len(polygon) - 1], polygon[edge % len(polygon)]
    on_edge = (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))
    assert inside_polygon(on_edge, polygon)


def test_someone_cut_off_by_the_lower_edge_is_in_a_zone_drawn_to_the_edge() -> None:
    assert inside_polygon((0.5, 1.0), ((0.2, 0.6), (0.8, 0.6), (0.8, 1.0), (0.2, 1.0)))


@PROPERTY
@given(points, points, points, points)
def test_crossing_is_the_same_from_both_ends_of_step_and_line(
    p: Point, q: Point, a: Point, b: Point
) -> None:
    assume(dist(a, b) > 1e-3)
    # Points on the line belong to one side by convention, which turns with the line.
    assume(min(abs(side_of_line(p, a, b)), abs(side_of_line(q, a, b))) > 1e-9)
    crosses = step_crosses(p, q, a, b)
    assert step_crosses(q, p, a, b) == crosses
    assert step_crosses(p, q, b, a) == crosses


@PROPERTY
@given(points, points, points)
def test_sides_swap_with_the_direction_of_the_line(p: Point, a: Point, b: Point) -> None:
    assume(dist(a, b) > 1e-3)
    assert side_of_line(p, a, b) == pytest.approx(-side_of_line(p, b, a), abs=1e-9)


@PROPERTY
@given(points, points, points)
def test_side_is_at_most_the_distance_to_the_segment(p: Point, a: Point, b: Point) -> None:
    assume(dist(a, b) > 1e-3)
    assert abs(side_of_line(p, a, b)) <= distance_to_segment(p, a, b) + 1e-9


def test_right_is_right_in_the_frame() -> None:
    # Standing at the left edge, looking right: the lower half of the picture is at the right hand.
    assert side_of_line((0.5, 0.9), (0.0, 0.5), (1.0, 0.5)) > 0
    # Standing at the bottom, looking up: the right half is.
    assert side_of_line((0.9, 0.5), (0.5, 1.0), (0.5, 0.0)) > 0


def test_a_step_around_the_end_does_not_cross() -> None:
    a, b = (0.5, 0.4), (0.5, 0.6)
    assert step_crosses((0.4, 0.5), (0.6, 0.5), a, b)
    assert not step_crosses((0.4, 0.9), (0.6, 0.9), a, b)


def test_a_path_with_a_point_on_the_line_crosses_once() -> None:
    a, b = (0.0, 0.5), (1.0, 0.5)
    path = [(0.5, 0.4), (0.5, 0.5), (0.5, 0.6)]
    assert sum(step_crosses(p, q, a, b) for p, q in itertools.pairwise(path)) == 1


def test_boxes() -> None:
    assert foot_point((10, 20, 30, 80)) == (20, 80)
    assert area((10, 20, 30, 80)) == 1200
    assert area((30, 20, 10, 80)) == 0
    assert intersection((0, 0, 10, 10), (5, 5, 20, 20)) == 25
    assert intersection((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert upright((0.5, 0.5), 16 / 9) == (0.5 * 16 / 9, 0.5)
    assert distance_to_segment((3, 4), (0, 0), (0, 0)) == 5
