"""When the demo's rules must fire."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cluster.demo.cast import CAST, COOLDOWN_S, Role
from cluster.demo.expected import ExpectedAlarm, crossing, expected_alarms, inside
from cluster.demo.scene import GroundTruth, Stage, TruthObject
from pipelines.domain import CountRule, LineCrossRule, LoiterRule, Rule, RuleKind, ZoneEntryRule

COMPOSED = [role for role in CAST if role.scene]
ZONE = ((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6))


def _alarms(role: Role) -> tuple[ExpectedAlarm, ...]:
    assert role.scene
    return expected_alarms(Stage(role.scene, (640, 360)).truth(), role.rules)


@pytest.mark.parametrize("role", COMPOSED, ids=lambda r: r.id)
def test_every_rule_of_a_composed_camera_fires_in_each_loop(role: Role) -> None:
    assert {a.rule for a in _alarms(role)} == {rule.id for rule in role.rules}
    assert {rule.kind for rule in role.rules} == set(RuleKind)


@pytest.mark.parametrize("role", COMPOSED, ids=lambda r: r.id)
def test_no_cooldown_hides_an_expected_alarm(role: Role) -> None:
    """Nor across the seam. So tests may compare with the ground truth and ignore cooldowns."""
    assert role.scene
    for rule in role.rules:
        times = [a.at_s for a in _alarms(role) if a.rule == rule.id]
        times.append(times[0] + role.scene.duration_s)
        assert min(b - a for a, b in pairwise(times)) > 2 * COOLDOWN_S


@pytest.mark.parametrize("role", COMPOSED, ids=lambda r: r.id)
@pytest.mark.parametrize("shift", [-0.02, 0.02])
def test_foot_points_keep_clear_of_edges_while_standing(role: Role, shift: float) -> None:
    """The same rules fire if a detector's box is off by 2 % of the frame."""
    assert role.scene
    truth = Stage(role.scene, (640, 360)).truth()
    moved = GroundTruth(
        truth.fps,
        tuple(
            tuple(
                TruthObject(
                    o.actor, o.label, (o.box[0], o.box[1], o.box[2], o.box[3] + shift), o.visible
                )
                for o in objects
            )
            for objects in truth.frames
        ),
    )
    if shift < 0:  # no box reaches below the frame
        assert [(a.rule, a.actors) for a in expected_alarms(moved, role.rules)] == [
            (a.rule, a.actors) for a in _alarms(role)
        ]


def test_the_expected_alarms_of_the_scripts() -> None:
    """Written out by hand from the scripts, to detect an error in `expected`."""
    gate, yard = (_alarms(role) for role in COMPOSED)
    assert [(a.rule, a.actors, round(a.at_s)) for a in gate] == [
        ("forecourt", ("visitor",), 4),
        ("forecourt", ("companion",), 6),
        ("pair", ("companion", "visitor"), 8),
        ("waiting", ("visitor",), 9),
        ("forecourt", ("passer-by",), 21),
        ("bus-passes", ("bus",), 22),
    ]
    assert [(a.rule, a.actors, round(a.at_s)) for a in yard] == [
        ("bay", ("bus",), 3),
        ("parked", ("bus",), 8),
        ("two-on-foot", ("driver", "guard"), 19),
        ("leaves", ("driver",), 19),
    ]


def _truth(*feet: tuple[float, float] | None, label: str = "person") -> GroundTruth:
    """One object at one frame per second; None while it is absent."""
    frames = []
    for foot in feet:
        box = (foot[0] - 0.01, foot[1] - 0.1, foot[0] + 0.01, foot[1]) if foot else None
        frames.append((TruthObject("x", label, box, 1.0),) if box else ())
    return GroundTruth(1, tuple(frames))


OUT, IN = (0.2, 0.5), (0.5, 0.5)


@pytest.mark.parametrize(
    ("rule", "feet", "at"),
    [
        (ZoneEntryRule(id="r", polygon=ZONE), (OUT, IN, IN, OUT, IN), [1.0, 4.0]),
        (ZoneEntryRule(id="r", polygon=ZONE), (IN, IN), [0.0]),
        (ZoneEntryRule(id="r", polygon=ZONE, classes=("bus",)), (OUT, IN), []),
        (LoiterRule(id="r", polygon=ZONE, seconds=2), (IN, IN, IN, IN), [2.0]),
        (LoiterRule(id="r", polygon=ZONE, seconds=2), (IN, IN, OUT, IN, IN), []),
        (CountRule(id="r", polygon=ZONE, n=1, seconds=1), (OUT, IN, IN, IN, OUT, IN), [2.0]),
        (CountRule(id="r", polygon=ZONE, n=2), (IN, IN), []),
    ],
)
def test_rules_on_synthetic_paths(
    rule: Rule, feet: tuple[tuple[float, float], ...], at: list[float]
) -> None:
    assert [a.at_s for a in expected_alarms(_truth(*feet), (rule,))] == at


@pytest.mark.parametrize(
    ("direction", "feet", "fires"),
    [
        # The line points down. Facing down, the right side of the frame is on the left.
        ("left_to_right", ((0.7, 0.5), (0.3, 0.5)), True),
        ("right_to_left", ((0.7, 0.5), (0.3, 0.5)), False),
        ("right_to_left", ((0.3, 0.5), (0.7, 0.5)), True),
        ("any", ((0.3, 0.5), (0.7, 0.5)), True),
        ("any", ((0.3, 0.05), (0.7, 0.05)), False),  # passes beyond its end
        ("any", ((0.3, 0.5), (0.4, 0.5)), False),
    ],
)
def test_lines_have_sides_and_ends(
    direction: str, feet: tuple[tuple[float, float], ...], fires: bool
) -> None:
    rule = LineCrossRule.model_validate(
        {"id": "r", "line": ((0.5, 0.2), (0.5, 0.8)), "direction": direction}
    )
    assert bool(expected_alarms(_truth(*feet), (rule,))) is fires


def test_inside_and_crossing() -> None:
    assert inside(ZONE, (0.5, 0.5))
    assert not inside(ZONE, (0.7, 0.5))
    assert crossing(((0, 0), (0, 1)), (1, 0.5), (-1, 0.5)) == "left_to_right"


def test_barely_visible_figures_are_ignored() -> None:
    seen = TruthObject("x", "person", (0.49, 0.4, 0.51, 0.5), 0.3)
    truth = GroundTruth(1, ((seen,),))
    assert expected_alarms(truth, (ZoneEntryRule(id="r", polygon=ZONE),)) == ()
