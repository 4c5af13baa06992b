"""Plane geometry on plain floats: with tens of points per frame, arrays do not pay off.

Functions take points and boxes in any one coordinate frame with equal axes. Rules use *upright*
coordinates (`upright`): x and y in frame heights, so that distances are isotropic.
"""

from __future__ import annotations

from math import hypot

from pipelines.domain import PixelBox

Point = tuple[float, float]

# Tolerance for rounding of 0..1 coordinates, far below a pixel of any camera (1/8192 = 1e-4).
EPSILON = 1e-9


def foot_point(box: PixelBox) -> Point:
    """The foot point, where an object stands: the centre of its box's lower edge."""
    return ((box[0] + box[2]) / 2, box[3])


def upright(point: Point, aspect: float) -> Point:
    """Convert normalized coordinates to frame heights; `aspect` is the frame's width / height."""
    return (point[0] * aspect, point[1])


def distance_to_segment(p: Point, a: Point, b: Point) -> float:
    """Shortest distance from `p` to the segment `a`-`b`."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length2 = dx * dx + dy * dy
    if length2 == 0.0:
        return hypot(p[0] - a[0], p[1] - a[1])
    along = ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length2
    along = min(1.0, max(0.0, along))
    return hypot(p[0] - a[0] - along * dx, p[1] - a[1] - along * dy)


def distance_to_border(p: Point, polygon: tuple[Point, ...]) -> float:
    """Shortest distance from `p`, inside or outside, to the polygon's border."""
    return min(distance_to_segment(p, polygon[i - 1], polygon[i]) for i in range(len(polygon)))


def inside_polygon(p: Point, polygon: tuple[Point, ...]) -> bool:
    """Whether `p` is inside, by the even-odd rule; the border belongs to the polygon.

    The border counts because boxes are clipped to the frame: a person cut off by the lower edge
    stands at exactly y = 1, which is the border of every zone drawn down to the edge.
    """
    x, y = p
    odd = False
    ax, ay = polygon[-1]
    for bx, by in polygon:
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            odd = not odd
        ax, ay = bx, by
    return odd or distance_to_border(p, polygon) <= EPSILON


def side_of_line(p: Point, a: Point, b: Point) -> float:
    """Signed distance from the infinite line through `a` and `b`; y points down.

    Positive: right of the line, as seen in the frame from `a` towards `b`.
    """
    dx, dy = b[0] - a[0], b[1] - a[1]
    return (dx * (p[1] - a[1]) - dy * (p[0] - a[0])) / hypot(dx, dy)


def step_crosses(p: Point, q: Point, a: Point, b: Point) -> bool:
    """Whether the step from `p` to `q` passes through the segment `a`-`b`.

    A point on the line counts as right of it, so that a path that touches the line with one point
    crosses once or not at all, never twice.
    """
    from_side, to_side = side_of_line(p, a, b), side_of_line(q, a, b)
    if (from_side >= 0) == (to_side >= 0):
        return False
    share = from_side / (from_side - to_side)
    x, y = p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])
    dx, dy = b[0] - a[0], b[1] - a[1]
    along = ((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)
    return -EPSILON <= along <= 1 + EPSILON


def area(box: PixelBox) -> float:
    """Area of a box; 0 if it is inverted."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: PixelBox, b: PixelBox) -> float:
    """Area of the intersection of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
