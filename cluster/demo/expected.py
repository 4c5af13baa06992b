"""When the rules of a composed scene must fire, derived from its script alone.

Deliberately shares no code with the pipeline: no tracker, no detector, no geometry. A test that
compares both compares two independent implementations of the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.demo.scene import GroundTruth, TruthObject
from pipelines.domain import (
    CountRule,
    Line,
    LineCrossRule,
    LoiterRule,
    NormalizedPoint,
    Rule,
    ZoneEntryRule,
)

# Share of a figure's box inside the frame. Below this, a detector need not find the figure.
MIN_VISIBLE = 0.5


@dataclass(frozen=True, slots=True)
class ExpectedAlarm:
    """One alarm per loop.

    Attributes:
        at_s: second of the loop at which the rule's condition becomes true.
        actors: figures that make it true, by id.
    """

    rule: str
    label: str
    at_s: float
    actors: tuple[str, ...]


def expected_alarms(truth: GroundTruth, rules: tuple[Rule, ...]) -> tuple[ExpectedAlarm, ...]:
    """All alarms of one loop, in time order. Ignores cooldowns and schedules."""
    alarms = [alarm for rule in rules for alarm in _of_rule(truth, rule)]
    return tuple(sorted(alarms, key=lambda a: (a.at_s, a.rule)))


def _of_rule(truth: GroundTruth, rule: Rule) -> Iterator[ExpectedAlarm]:
    match rule:
        case ZoneEntryRule():
            yield from _stays(truth, rule, 0.0)
        case LoiterRule():
            yield from _stays(truth, rule, rule.seconds)
        case LineCrossRule():
            yield from _crossings(truth, rule)
        case CountRule():
            yield from _crowds(truth, rule)


def _stays(
    truth: GroundTruth, rule: ZoneEntryRule | LoiterRule, seconds: float
) -> Iterator[ExpectedAlarm]:
    for actor in truth.actors():
        since: int | None = None
        fired = False
        for number, seen in _watched(truth, rule, actor):
            if not inside(rule.polygon, seen.foot):
                since, fired = None, False
                continue
            since = number if since is None else since
            if not fired and number - since >= seconds * truth.fps:
                fired = True
                yield ExpectedAlarm(rule.id, seen.label, number / truth.fps, (actor,))


def _crossings(truth: GroundTruth, rule: LineCrossRule) -> Iterator[ExpectedAlarm]:
    for actor in truth.actors():
        before: TruthObject | None = None
        for number, seen in _watched(truth, rule, actor):
            direction = crossing(rule.line, before.foot, seen.foot) if before else None
            if direction is not None and rule.direction in ("any", direction):
                yield ExpectedAlarm(rule.id, seen.label, number / truth.fps, (actor,))
            before = seen


def _crowds(truth: GroundTruth, rule: CountRule) -> Iterator[ExpectedAlarm]:
    since: int | None = None
    fired = False
    for number, objects in enumerate(truth.frames):
        there = [o for o in objects if _counts(rule, o) and inside(rule.polygon, o.foot)]
        if len(there) < rule.n:
            since, fired = None, False
            continue
        since = number if since is None else since
        if not fired and number - since >= rule.seconds * truth.fps:
            fired = True
            actors = tuple(sorted(o.actor for o in there))
            yield ExpectedAlarm(rule.id, there[0].label, number / truth.fps, actors)


def _watched(truth: GroundTruth, rule: Rule, actor: str) -> Iterator[tuple[int, TruthObject]]:
    return ((n, o) for n, o in truth.of(actor) if _counts(rule, o))


def _counts(rule: Rule, seen: TruthObject) -> bool:
    return seen.visible >= MIN_VISIBLE and (not rule.classes or seen.label in rule.classes)


def inside(polygon: tuple[NormalizedPoint, ...], point: tuple[float, float]) -> bool:
    """Whether a point is in a polygon. Even-odd rule, with a ray to the right."""
    x, y = point
    odd = False
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            odd = not odd
    return odd


def crossing(line: Line, start: tuple[float, float], end: tuple[float, float]) -> str | None:
    """`left_to_right`, `right_to_left`, or None if the step does not cross the line.

    Seen from the line's first point towards its second.
    """
    first, second = line
    a, b = _side(first, second, start), _side(first, second, end)
    if (a > 0) == (b > 0) or _side(start, end, first) * _side(start, end, second) > 0:
        return None
    return "left_to_right" if a < b else "right_to_left"


def _side(
    origin: tuple[float, float], towards: tuple[float, float], point: tuple[float, float]
) -> float:
    """Positive on the right of the direction from `origin` to `towards`, because y points down."""
    return (towards[0] - origin[0]) * (point[1] - origin[1]) - (towards[1] - origin[1]) * (
        point[0] - origin[0]
    )
