"""Warns of rules so near to the picture's edge that objects are cut off before they fire.

Boxes end at the edge, so a foot point gets only so near to it: at the lower edge all the way, at
the sides to a quarter of the object's width, above to half of its height, as half of an object must
be seen to be detected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from pipelines.domain import LineCrossRule, Rule
from pipelines.geometry import Point
from pipelines.presence import BORDER_SHARE

# Shape of the picture, which is unknown when a rule is made: that of nearly all cameras.
ASPECT = 16 / 9

# Height of the object that a rule should serve at least, in heights of the picture: a person of 180
# pixels in 720.
OBJECT_HEIGHT = 0.25


class Edge(StrEnum):
    LEFT = "left"
    RIGHT = "right"
    TOP = "upper"
    BOTTOM = "lower"


# How far from the edge a zone must reach, in heights of the object. It is thrice as high as wide.
ZONE_NEEDS = {Edge.LEFT: 1 / 12, Edge.RIGHT: 1 / 12, Edge.TOP: 1 / 2, Edge.BOTTOM: 0.0}

# The same for a line. Who leaves at a side is counted all the same (`Scene.left`), but who enters
# must be seen beyond the line first. Above and below, the foot must be clear of the line
# (`presence.border`); at the lower edge by a tenth of the half that is still seen.
LINE_NEEDS = {
    Edge.LEFT: 1 / 12,
    Edge.RIGHT: 1 / 12,
    Edge.TOP: 1 / 2 + BORDER_SHARE,
    Edge.BOTTOM: BORDER_SHARE / 2,
}


def border_warnings(rule: Rule, aspect: float = ASPECT) -> tuple[str, ...]:
    """Why the rule may miss objects at the edge of the picture; empty if it lies well inside.

    Args:
        rule: any rule; it is accepted in any case.
        aspect: width / height of the picture.
    """
    if isinstance(rule, LineCrossRule):
        return _warnings("line", LINE_NEEDS, rule.line, aspect)
    return _warnings("zone", ZONE_NEEDS, rule.polygon, aspect)


def _warnings(
    what: str, needs: Mapping[Edge, float], points: Sequence[Point], aspect: float
) -> tuple[str, ...]:
    warnings = []
    for edge in Edge:
        distance = max(_distances(edge, points, aspect))
        if distance < needs[edge] * OBJECT_HEIGHT:
            warnings.append(_warning(what, edge, distance / needs[edge]))
    return tuple(warnings)


def _distances(edge: Edge, points: Sequence[Point], aspect: float) -> list[float]:
    """Of each point from this edge, in heights of the picture."""
    match edge:
        case Edge.LEFT:
            return [x * aspect for x, _ in points]
        case Edge.RIGHT:
            return [(1 - x) * aspect for x, _ in points]
        case Edge.TOP:
            return [y for _, y in points]
        case Edge.BOTTOM:
            return [1 - y for _, y in points]


def _warning(what: str, edge: Edge, height: float) -> str:
    missed = "are missed there" if what == "line" else "cannot be seen inside it"
    return (
        f"the {what} is close to the {edge.value} edge of the picture: objects higher than"
        f" {height:.0%} of the picture {missed}, because the edge cuts them off;"
        f" move the {what} further in"
    )
