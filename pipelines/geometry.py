"""Plane geometry on plain floats: a frame has tens of points, too few for arrays to pay off.

Functions take points and boxes in any one coordinate frame with equal axes; rules use *upright*
coordinates (`upright`): x and y in picture heights, so that a distance means the same both ways.
"""

from __future__ import annotations

from math import hypot

from pipelines.domain import PixelBox

Point = tuple[float, float]

# Rounding of 0..1 coordinates, far below a pixel of any camera (1/8192 = 1e-4).
EPSILON = 1e-9


def foot_point(box: PixelBox) -> Point:
    """Where an object stands: the middle of the lower edge of its box."""
    return ((box[0] + box[2]) / 2, box[3])


def upright(point: Point, aspect: float) -> Point:
    """Normalized (0..1 both ways) to picture heights, given width / height of the picture."""
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
    """Even-odd rule; the border belongs to the polygon.

    The border counts because boxes are clipped to the picture: someone who is cut off by the lower
    edge stands at y = 1 exactly, which is the border of every zone drawn down to the edge.
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
    """Signed distance from the endless line through `a` and `b`; y points down.

    Positive: to the right of someone who stands on `a` and looks at `b`, in the picture.
    """
    dx, dy = b[0] - a[0], b[1] - a[1]
    return (dx * (p[1] - a[1]) - dy * (p[0] - a[0])) / hypot(dx, dy)


def step_crosses(p: Point, q: Point, a: Point, b: Point) -> bool:
    """Whether the step from `p` to `q` passes through the segment `a`-`b`.

    A point on the line counts as right of it, so that a path that touches the line with one of its
    points crosses once or not at all, never twice.
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
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: PixelBox, b: PixelBox) -> float:
    """Area that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
