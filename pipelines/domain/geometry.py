"""Zones and lines, in normalized coordinates."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from pipelines.domain.base import NormalizedPoint

# 1e-4 of the frame is some 14x14 pixels at 1080p: smaller zones are drawn by mistake.
MIN_ZONE_AREA = 1e-4
# Normalized length, 10 to 20 pixels at 1080p: shorter lines are drawn by mistake.
MIN_LINE_LENGTH = 1e-2


def polygon_area(points: tuple[NormalizedPoint, ...]) -> float:
    """Area of a simple polygon by the shoelace formula, as a fraction of the frame."""
    x = np.array([p[0] for p in points])
    y = np.array([p[1] for p in points])
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _crosses(
    a: NormalizedPoint, b: NormalizedPoint, c: NormalizedPoint, d: NormalizedPoint
) -> bool:
    def side(p: NormalizedPoint, q: NormalizedPoint, r: NormalizedPoint) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def _simple_polygon(points: tuple[NormalizedPoint, ...]) -> tuple[NormalizedPoint, ...]:
    if len(points) > 3 and points[0] == points[-1]:
        points = points[:-1]
    edges = [(points[i], points[(i + 1) % len(points)]) for i in range(len(points))]
    for i, (a, b) in enumerate(edges):
        if any(_crosses(a, b, c, d) for c, d in edges[i + 1 :]):
            raise ValueError(
                "the polygon crosses itself; list its corners in order around the zone"
            )
    if polygon_area(points) < MIN_ZONE_AREA:
        raise ValueError("the polygon covers (almost) nothing; give at least three spread corners")
    return points


Polygon = Annotated[
    tuple[NormalizedPoint, ...],
    Field(min_length=3, max_length=64),
    AfterValidator(_simple_polygon),
]
"""Three to 64 corners in order, without self-intersection and with a non-zero area."""

Line = tuple[NormalizedPoint, NormalizedPoint]
