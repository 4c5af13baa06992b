"""Warnings for rules at the picture's edge; and that lines count who leaves across them."""

from __future__ import annotations

import pytest

from pipelines.borders import border_warnings
from pipelines.domain import Alarm, CountRule, LineCrossRule, LoiterRule, Rule, ZoneEntryRule
from pipelines.geometry import Point
from pipelines.pipeline import CameraPipeline
from tests.unit.pipelines.world import SIZE, Path, Thing, alarms, frames, plan, run, walk


def line(a: Point, b: Point) -> LineCrossRule:
    return LineCrossRule(id="line", line=(a, b))


def box(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


# Both need 1/12 of 0.25 at the sides = 0.0208 heights = 0.0117 widths. Above, a line needs 0.6 of
# 0.25 = 0.15 and a zone 0.125; below, a line 0.05 of 0.25 = 0.0125 and a zone nothing.
@pytest.mark.parametrize(
    ("rule", "edges"),
    [
        (line((0.5, 0.0), (0.5, 1.0)), []),
        (line((0.0, 0.5), (1.0, 0.5)), []),
        (line((0.011, 0.2), (0.011, 0.9)), ["left"]),
        (line((0.013, 0.2), (0.013, 0.9)), []),
        (line((0.99, 0.2), (0.99, 0.9)), ["right"]),
        (line((0.98, 0.2), (0.9, 0.9)), []),
        (line((0.2, 0.14), (0.8, 0.14)), ["upper"]),
        (line((0.2, 0.16), (0.8, 0.16)), []),
        (line((0.2, 0.99), (0.8, 0.99)), ["lower"]),
        (line((0.2, 0.98), (0.8, 0.98)), []),
        (line((0.99, 0.99), (1.0, 1.0)), ["right", "lower"]),
        (ZoneEntryRule(id="zone", polygon=box(0.0, 0.0, 1.0, 1.0)), []),
        (ZoneEntryRule(id="zone", polygon=box(0.0, 0.3, 0.01, 0.9)), ["left"]),
        (ZoneEntryRule(id="zone", polygon=box(0.0, 0.3, 0.013, 0.9)), []),
        (LoiterRule(id="zone", polygon=box(0.2, 0.0, 0.9, 0.1), seconds=5), ["upper"]),
        (CountRule(id="zone", polygon=box(0.2, 0.98, 0.9, 1.0), n=2), []),
    ],
)
def test_what_is_warned_of(rule: Rule, edges: list[str]) -> None:
    warnings = border_warnings(rule)
    assert [next(e for e in EDGES if f"the {e} edge" in text) for text in warnings] == edges


EDGES = ("left", "right", "upper", "lower")


def test_a_warning_says_for_what_and_what_to_do() -> None:
    (text,) = border_warnings(line((0.2, 0.99), (0.8, 0.99)))
    assert "objects higher than 20% of the picture are missed" in text
    assert "move the line further in" in text


def test_the_sides_depend_on_the_shape_of_the_picture() -> None:
    upright = line((0.013, 0.2), (0.013, 0.9))
    assert border_warnings(upright) == ()
    assert len(border_warnings(upright, aspect=4 / 3)) == 1


HEIGHT = 0.25
WIDTH = HEIGHT / 3 * SIZE[1] / SIZE[0]


def crossings(rule: LineCrossRule, path: Path, seconds: float) -> int:
    """Alarms for one person who walks until half of them is outside, and is then not seen."""
    person = Thing(path, width=WIDTH, height=HEIGHT, seen=lambda t: t <= seconds)
    stream = frames([person], seconds + 4, 5, noise=0.03)
    return len(alarms(run(CameraPipeline(plan(rule)), stream)))


@pytest.mark.parametrize("seconds", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("x", [0.03, 0.015, 0.97, 0.985])
def test_who_leaves_at_a_side_is_counted_by_a_line_close_to_it(x: float, seconds: float) -> None:
    end = 0.0 if x < 0.5 else 1.0
    leaves = walk((0.5 + 0.1 * (end - 0.5), 0.8), (end, 0.8), 0, seconds)
    assert crossings(line((x, 0.0), (x, 1.0)), leaves, seconds) == 1


def test_who_leaves_the_other_way_is_not() -> None:
    rule = line((0.985, 0.0), (0.985, 1.0))
    assert crossings(rule, walk((0.5, 0.8), (0.0, 0.8), 0, 4), 4) == 0


def test_who_stops_at_the_edge_has_not_left() -> None:
    stops = walk((0.5, 0.8), (0.95, 0.8), 0, 4, stays=True)
    assert crossings(line((0.985, 0.0), (0.985, 1.0)), stops, 8) == 0


def test_who_is_hidden_long_before_the_edge_has_not_left() -> None:
    hidden = walk((0.1, 0.8), (0.5, 0.8), 0, 4)
    assert crossings(line((0.9, 0.0), (0.9, 1.0)), hidden, 4) == 0


def leaves_while_frames_become(size: tuple[int, int]) -> list[Alarm]:
    person = Thing(walk((0.5, 0.8), (1.0, 0.8), 0, 2), width=WIDTH, height=HEIGHT)
    rule = line((0.985, 0.0), (0.985, 1.0))
    stream = [*frames([person], 2, 5), *frames([], 2, 5, begin_s=2, size=size)]
    return alarms(run(CameraPipeline(plan(rule)), stream))


@pytest.mark.parametrize("size", [SIZE, (640, 360), (2560, 1440)])
def test_the_frame_size_may_change_while_somebody_leaves(size: tuple[int, int]) -> None:
    (alarm,) = leaves_while_frames_become(size)
    assert alarm.box[0] == pytest.approx(0.92, abs=0.03)


@pytest.mark.parametrize("size", [(640, 480), (360, 640)])
def test_with_another_shape_of_the_picture_nobody_has_left(size: tuple[int, int]) -> None:
    assert leaves_while_frames_become(size) == []


@pytest.mark.parametrize("y", [0.13, 0.99])
def test_what_is_warned_of_above_and_below_is_missed(y: float) -> None:
    rule = line((0.0, y), (1.0, y))
    leaves = walk((0.5, 0.6), (0.5, HEIGHT / 2 if y < 0.5 else 1 + HEIGHT / 2), 0, 8)
    assert border_warnings(rule) != ()
    assert crossings(rule, leaves, 8) == 0


@pytest.mark.parametrize("y", [0.2, 0.98])
def test_what_is_not_warned_of_above_and_below_is_counted(y: float) -> None:
    rule = line((0.0, y), (1.0, y))
    leaves = walk((0.5, 0.6), (0.5, HEIGHT / 2 if y < 0.5 else 1 + HEIGHT / 2), 0, 8)
    assert border_warnings(rule) == ()
    assert crossings(rule, leaves, 8) == 1
