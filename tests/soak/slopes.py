"""How fast figures of a long run grow. Pure: no clock, no I/O."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MAX_POINTS = 300
"""Slopes are taken between all pairs, which is quadratic; more points are thinned out evenly."""


@dataclass(frozen=True, slots=True)
class Point:
    """One reading.

    Attributes:
        at_s: seconds since the begin of the run.
    """

    at_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Trend:
    """What a figure did.

    Attributes:
        first, last: medians of the first and the last tenth of the readings.
        per_hour: slope, of the figure's unit per hour.
    """

    first: float
    last: float
    per_hour: float


def trend(points: Sequence[Point], settle_s: float = 0.0) -> Trend | None:
    """The trend after a time to settle; None where fewer than three readings are left.

    The slope is the median of those between all pairs of readings (Theil, 1950; Sen, 1968), so that
    a process that was replaced, or a peak at a reconnect, does not decide it.
    """
    kept = [point for point in points if point.at_s >= settle_s]
    if len(kept) < 3:
        return None
    thinned = kept[:: -(-len(kept) // MAX_POINTS)]
    slopes = [
        (b.value - a.value) / (b.at_s - a.at_s)
        for a, b in itertools.combinations(thinned, 2)
        if b.at_s > a.at_s
    ]
    tenth = max(1, len(kept) // 10)
    return Trend(
        first=statistics.median(point.value for point in kept[:tenth]),
        last=statistics.median(point.value for point in kept[-tenth:]),
        per_hour=statistics.median(slopes) * 3600 if slopes else 0.0,
    )
