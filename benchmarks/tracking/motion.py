"""How composed objects move: paths of foot points, in seconds and pixels of the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import hypot
from random import Random

Place = tuple[float, float]
"""A foot point, pixels."""

Path = Callable[[float], Place | None]
"""Seconds to the foot point; None while the object is not there."""


def along(
    places: Sequence[Place], speed: float, begin_s: float = 0.0, pause_s: float = 0.0
) -> Path:
    """From place to place at an even speed, with a pause at each but the first and the last.

    Args:
        speed: pixels per second.
    """
    stops = [(begin_s, places[0])]
    for number, (a, b) in enumerate(pairwise(places)):
        leave_s = stops[-1][0] + (pause_s if number else 0.0)
        stops += [(leave_s, a), (leave_s + hypot(b[0] - a[0], b[1] - a[1]) / speed, b)]

    def path(t: float) -> Place | None:
        if not begin_s <= t <= stops[-1][0]:
            return None
        return next(
            _between(a, b, (t - from_s) / (to_s - from_s))
            for (from_s, a), (to_s, b) in pairwise(stops)
            if t <= to_s and to_s > from_s
        )

    return path


def roam(chance: Random, field: tuple[Place, Place], speed: float, legs: int) -> Path:
    """Among random places of a rectangle, with pauses: people on a square."""
    (left, top), (right, bottom) = field
    places = [(chance.uniform(left, right), chance.uniform(top, bottom)) for _ in range(legs)]
    return along(places, speed, pause_s=chance.uniform(0.0, 2.0))


def _between(a: Place, b: Place, share: float) -> Place:
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))
