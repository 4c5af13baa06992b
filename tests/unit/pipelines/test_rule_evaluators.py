"""Rules through the whole pipeline, as a guard expects them to behave."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import (
    Alarm,
    CountRule,
    LineCrossRule,
    LoiterRule,
    Rule,
    RuleKind,
    Schedule,
    Window,
    ZoneEntryRule,
)
from pipelines.pipeline import CameraPipeline
from tests.unit.pipelines.properties import SLOW_PROPERTY
from tests.unit.pipelines.world import (
    START_US,
    Path,
    Thing,
    alarms,
    chain,
    frames,
    plan,
    run,
    seconds_of,
    stand,
    walk,
    with_gaps,
)

ZONE = ((0.3, 0.4), (0.7, 0.4), (0.7, 1.0), (0.3, 1.0))
ENTRY = ZoneEntryRule(id="yard", polygon=ZONE, cooldown_s=0)
LINE = LineCrossRule(id="gate", line=((0.5, 1.0), (0.5, 0.0)), cooldown_s=0)
LOITER = LoiterRule(id="bench", polygon=ZONE, seconds=10, cooldown_s=0)
COUNT = CountRule(id="crowd", polygon=ZONE, n=3, seconds=4, cooldown_s=0)

# Into the zone at 5.56 s, over the line at 10 s, out at 14.4 s.
THROUGH = Thing(walk((0.05, 0.8), (0.95, 0.8), 0, 20))
CAR = Thing(stand((0.5, 0.6)), width=0.15, height=0.12, label="car")
ARRIVES = replace(CAR, path=chain(walk((0.05, 0.6), (0.5, 0.6), 2, 8), stand((0.5, 0.6), 8)))


def watch(
    rules: Rule | Sequence[Rule],
    things: Thing | Sequence[Thing],
    seconds: float,
    fps: float = 5,
    noise: float = 0.0,
    start_us: int = START_US,
) -> list[Alarm]:
    rules = [rules] if not isinstance(rules, Sequence) else rules
    things = [things] if isinstance(things, Thing) else things
    pipeline = CameraPipeline(plan(*rules, fps=fps))
    return alarms(run(pipeline, frames(things, seconds, fps, noise=noise, start_us=start_us)))


def times(found: list[Alarm]) -> list[float]:
    return [round(seconds_of(alarm), 2) for alarm in found]


# ------------------------------------------------------------ the same at every rate


@pytest.mark.parametrize(("fps", "noise"), [(1, 0.03), (2, 0.03), (5, 0.0), (5, 0.03), (25, 0.03)])
def test_a_walk_through_fires_each_rule_once_at_every_rate(fps: float, noise: float) -> None:
    short = LOITER.model_copy(update={"seconds": 5})
    one = CountRule(id="anyone", polygon=ZONE, n=1, seconds=2, cooldown_s=0)
    found = watch([ENTRY, LINE, short, one], THROUGH, 20, fps, noise)
    at = {alarm.rule: seconds_of(alarm) for alarm in found}
    assert len(found) == len(at) == 4
    slack = 1 / fps + 0.5
    assert at["yard"] == pytest.approx(5.56, abs=slack)
    assert at["gate"] == pytest.approx(10.2, abs=slack)
    assert at["bench"] == pytest.approx(10.56, abs=slack)
    assert at["anyone"] == pytest.approx(7.56, abs=slack)
    assert len({alarm.track for alarm in found}) == 1


def test_what_an_alarm_says() -> None:
    (alarm,) = watch(ENTRY, THROUGH, 20)
    assert (alarm.tenant, alarm.camera, alarm.rule) == ("acme", "gate", "yard")
    assert alarm.kind is RuleKind.ZONE_ENTRY
    assert (alarm.label, alarm.episode) == ("person", 0)
    assert alarm.confidence == pytest.approx(0.85)
    assert alarm.frame_id == 28
    assert alarm.stages.capture_us == START_US + 5_600_000
    assert alarm.box == pytest.approx((0.277, 0.55, 0.327, 0.8), abs=1e-3)


# ------------------------------------------------------------ zones


def test_it_appears_inside() -> None:
    assert times(watch(ENTRY, Thing(stand((0.5, 0.8), 10)), 20)) == [10.4]  # once confirmed


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_walking_along_the_border_alarms_once(fps: float) -> None:
    chance = random.Random(1)
    wobble = {n: 0.3 + chance.uniform(-0.008, 0.008) for n in range(1000)}
    along = Thing(lambda t: (wobble[int(t * 5)], 0.5 + 0.02 * t))
    assert len(watch(ENTRY, along, 20, fps)) == 1


def test_really_leaving_and_coming_back_is_a_new_episode() -> None:
    path = chain(
        walk((0.1, 0.8), (0.5, 0.8), 0, 10),
        walk((0.5, 0.8), (0.1, 0.8), 10, 20),
        walk((0.1, 0.8), (0.5, 0.8), 20, 30),
    )
    found = watch(ENTRY, Thing(path), 30)
    assert [alarm.episode for alarm in found] == [0, 1]
    assert len({alarm.track for alarm in found}) == 1
    assert len({alarm.id for alarm in found}) == 2


def test_a_step_out_and_back_is_not() -> None:
    path = chain(
        walk((0.1, 0.8), (0.35, 0.8), 0, 5),
        walk((0.35, 0.8), (0.28, 0.8), 5, 6),
        walk((0.28, 0.8), (0.5, 0.8), 6, 10),
    )
    assert len(watch(ENTRY, Thing(path), 10)) == 1


# ------------------------------------------------------------ parked, lost, found


@pytest.mark.parametrize("fps", [1, 5])
def test_a_parked_car_alarms_once_whatever_the_detector_does(fps: float) -> None:
    rules = [ENTRY, LOITER, COUNT.model_copy(update={"n": 1})]
    chance = random.Random(7)
    lucky = {n: chance.random() < 0.4 for n in range(10_000)}
    poor = replace(
        ARRIVES,
        seen=lambda t: t < 12 or (lucky[int(t * fps)] and not (40 <= t < 100 or 150 <= t < 290)),
        label_at=lambda t: "truck" if int(t) % 5 == 0 else "car",
    )
    found = watch(rules, poor, 310, fps, noise=0.03)
    assert sorted(alarm.rule for alarm in found) == ["bench", "crowd", "yard"]


def test_a_walker_lost_and_found_in_the_zone_alarms_once() -> None:
    slow = Thing(walk((0.25, 0.8), (0.6, 0.8), 0, 30))
    assert len(watch([ENTRY, LOITER], with_gaps(slow, (12, 15), (18, 22)), 30)) == 2


def test_a_crossing_behind_a_pillar_counts_once() -> None:
    slow = Thing(walk((0.4, 0.8), (0.6, 0.8), 0, 20))
    assert len(watch(LINE, with_gaps(slow, (8, 12)), 20)) == 1


def test_the_car_that_leaves_and_the_next_one() -> None:
    first = chain(ARRIVES.path, stand((0.5, 0.6), 8, 60))
    leaves = replace(
        CAR,
        path=lambda t: first(t) if t < 60 else walk((0.5, 0.6), (0.97, 0.6), 60, 66)(t),
    )
    comes = replace(CAR, path=chain(walk((0.05, 0.6), (0.5, 0.6), 80, 86), stand((0.5, 0.6), 86)))
    found = watch(ENTRY, [leaves, comes], 120)
    assert len(found) == 2
    assert len({alarm.track for alarm in found}) == 2


def test_a_car_that_stood_there_when_the_camera_came_up_has_not_entered() -> None:
    assert watch(ENTRY, CAR, 45, noise=0.03) == []
    leaves_later = replace(
        CAR, path=chain(stand((0.5, 0.6), 0, 60), walk((0.5, 0.6), (0.9, 0.6), 60, 66))
    )
    assert watch(ENTRY, leaves_later, 70) == []


def test_an_object_that_moves_in_the_first_frame_fires() -> None:
    stirs = Thing(chain(stand((0.5, 0.8), 0, 6), walk((0.5, 0.8), (0.6, 0.8), 6, 10)))
    assert len(watch(ENTRY, stirs, 10)) == 1
    assert len(watch(ENTRY, Thing(walk((0.4, 0.8), (0.6, 0.8), 0, 10)), 10)) == 1


# ------------------------------------------------------------ lines


@pytest.mark.parametrize(
    ("direction", "episodes"),
    [("any", [10.2, 23.0]), ("left_to_right", [10.2]), ("right_to_left", [23.0])],
)
def test_a_line_crossed_both_ways(direction: str, episodes: list[float]) -> None:
    path = chain(
        walk((0.1, 0.8), (0.9, 0.8), 0, 20),  # seen from the line's foot: from left to right
        walk((0.9, 0.8), (0.1, 0.8), 20, 25.4),
    )
    rule = LINE.model_copy(update={"direction": direction})
    found = watch(rule, Thing(path), 26)
    assert times(found) == pytest.approx(episodes, abs=0.5)
    assert [alarm.episode for alarm in found] == list(range(len(found)))


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_standing_on_the_line_does_not_alarm(fps: float) -> None:
    assert watch(LINE, Thing(stand((0.5, 0.8))), 30, fps, noise=0.04) == []


def test_walking_around_the_line_does_not_alarm() -> None:
    short = LINE.model_copy(update={"line": ((0.5, 0.6), (0.5, 0.3))})
    around = chain(
        walk((0.3, 0.5), (0.3, 0.9), 0, 5),
        walk((0.3, 0.9), (0.7, 0.9), 5, 15),
        walk((0.7, 0.9), (0.7, 0.5), 15, 20),
    )
    assert watch(short, Thing(around), 20) == []


# ------------------------------------------------------------ loiter and count


def test_loiter_fires_once_per_stay() -> None:
    assert times(watch(LOITER, Thing(stand((0.5, 0.8), 2, 60)), 60)) == [12.0]
    assert watch(LOITER, Thing(stand((0.5, 0.8), 2, 11)), 30) == []


def test_loiter_starts_anew_after_a_complete_exit() -> None:
    path = chain(
        stand((0.35, 0.8), 0, 8),
        walk((0.35, 0.8), (0.2, 0.8), 8, 11),
        stand((0.2, 0.8), 11, 14),
        walk((0.2, 0.8), (0.35, 0.8), 14, 17),
        stand((0.35, 0.8), 17),
    )
    assert times(watch(LOITER, Thing(path), 60)) == pytest.approx([26], abs=0.8)


def crowd(*spans: tuple[float, float]) -> list[Thing]:
    return [Thing(stand((0.35 + 0.1 * i, 0.8), *span)) for i, span in enumerate(spans)]


def test_count_needs_enough_for_long_enough() -> None:
    assert times(watch(COUNT, crowd((0, 60), (5, 60), (10, 60)), 60)) == [14.4]
    assert watch(COUNT, crowd((0, 60), (5, 60)), 60) == []
    assert watch(COUNT, crowd((0, 60), (5, 60), (10, 12)), 60) == []


def test_count_names_who_filled_the_zone() -> None:
    (alarm,) = watch(COUNT, crowd((0, 60), (5, 60), (10, 60)), 60)
    assert alarm.box[0] == pytest.approx(0.525, abs=0.01)


def test_count_survives_a_flicker_and_fires_again_after_emptying() -> None:
    three = [with_gaps(t, (8.1, 8.7), (20, 25)) for t in crowd((5, 40), (5, 40), (5, 40))]
    three += [Thing(stand((0.35 + 0.1 * i, 0.9), 60, 90)) for i in range(3)]
    assert times(watch(COUNT, three, 90)) == pytest.approx([9.4, 64.4], abs=0.3)


# ------------------------------------------------------------ who counts


def test_classes() -> None:
    cars = ENTRY.model_copy(update={"classes": ("car", "truck")})
    assert len(watch(cars, [THROUGH, ARRIVES], 20)) == 1
    assert watch(cars, THROUGH, 20) == []


def test_minimum_confidence() -> None:
    sure = ENTRY.model_copy(update={"min_confidence": 0.7})
    assert watch(sure, replace(THROUGH, confidence=0.65), 20) == []
    # One lucky frame is not enough ...
    assert watch(sure, replace(THROUGH, confidence_at=lambda t: 0.9 if t == 8 else 0.5), 20) == []
    # ... and when it becomes clear inside, that is soon enough; the alarm shows such a frame.
    late = replace(THROUGH, confidence_at=lambda t: 0.5 if t < 8 else 0.8)
    (alarm,) = watch(sure, late, 20)
    assert seconds_of(alarm) == pytest.approx(8.6, abs=0.21)
    assert alarm.confidence >= 0.7


def test_a_rule_may_ask_for_less_than_the_default() -> None:
    weak = replace(THROUGH, confidence=0.3)
    assert watch(ENTRY, weak, 20) == []
    assert len(watch(ENTRY.model_copy(update={"min_confidence": 0.25}), weak, 20)) == 1


# ------------------------------------------------------------ schedule and cooldown

NINE = round(datetime(2026, 3, 2, 9, 0, tzinfo=UTC).timestamp()) * 1_000_000
FROM_NINE = Schedule(timezone="America/Sao_Paulo", windows=(Window(start="06:00", end="18:00"),))


def test_an_entry_before_the_schedule_does_not_fire_later() -> None:
    armed = ENTRY.model_copy(update={"schedule": FROM_NINE})
    stays = Thing(chain(walk((0.1, 0.8), (0.5, 0.8), 0, 10), stand((0.5, 0.8), 10)))
    assert len(watch(armed, stays, 60, start_us=NINE)) == 1
    assert watch(armed, stays, 60, start_us=NINE - 30_000_000) == []


def test_loitering_that_began_before_the_schedule_fires_in_it() -> None:
    armed = LOITER.model_copy(update={"schedule": FROM_NINE})
    (alarm,) = watch(armed, Thing(stand((0.5, 0.8))), 60, start_us=NINE - 30_000_000)
    assert alarm.capture_us == NINE + 10_000_000


def group(n: int, every_s: float) -> list[Thing]:
    return [
        Thing(
            walk((0.05, 0.5 + 0.08 * i), (0.95, 0.5 + 0.08 * i), every_s * i, every_s * i + 18),
            height=0.07,
            width=0.03,
        )
        for i in range(n)
    ]


def test_a_group_is_one_alarm_while_the_rule_cools_down() -> None:
    quiet = ENTRY.model_copy(update={"cooldown_s": 30})
    assert len(watch(ENTRY, group(5, 2), 40)) == 5
    assert len(watch(quiet, group(5, 2), 40)) == 1


def test_steady_traffic_does_not_silence_a_rule() -> None:
    quiet = LINE.model_copy(update={"cooldown_s": 10})
    found = times(watch(quiet, group(6, 4), 60))
    assert len(found) == 2
    assert found[1] - found[0] >= 10


def test_loitering_that_outlasts_the_cooldown_fires() -> None:
    quiet = LOITER.model_copy(update={"cooldown_s": 30})
    pair = [Thing(stand((0.4, 0.8), 0)), Thing(stand((0.6, 0.8), 5))]
    assert times(watch(quiet, pair, 90)) == [10.0, 40.0]
    leaves = [pair[0], Thing(stand((0.6, 0.8), 5, 30))]
    assert times(watch(quiet, leaves, 90)) == [10.0]


def test_ids_do_not_depend_on_the_cooldown() -> None:
    path = chain(
        *(
            walk((0.1, 0.8), (0.9, 0.8), 20 * i, 20 * i + 10)
            if i % 2 == 0
            else walk((0.9, 0.8), (0.1, 0.8), 20 * i, 20 * i + 10)
            for i in range(2)
        ),
        stand((0.9, 0.8), 10, 20),
    )
    all_of_them = watch(LINE, Thing(path), 32)
    assert len(all_of_them) == 2
    quiet = watch(LINE.model_copy(update={"cooldown_s": 15}), Thing(path), 32)
    assert {alarm.id for alarm in quiet} <= {alarm.id for alarm in all_of_them}


# ------------------------------------------------------------ whatever happens

paths = st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.3, 1.0)), min_size=2, max_size=5).map(
    lambda corners: chain(
        *(walk(a, b, 6 * i, 6 * i + 6) for i, (a, b) in enumerate(itertools.pairwise(corners)))
    )
)
everything = [
    ENTRY,
    LINE,
    LOITER.model_copy(update={"seconds": 3}),
    COUNT.model_copy(update={"n": 1}),
]


@SLOW_PROPERTY
@given(st.lists(paths, min_size=1, max_size=3), st.sampled_from([2.0, 5.0]))
def test_alarms_are_a_function_of_the_stream(them: list[Path], fps: float) -> None:
    things = [Thing(path) for path in them]
    found = watch(everything, things, 24, fps, noise=0.02)
    assert found == watch(everything, things, 24, fps, noise=0.02)
    assert len({alarm.id for alarm in found}) == len(found)
    for alarm in found:
        assert all(0 <= side <= 1 for side in alarm.box)


@SLOW_PROPERTY
@given(st.lists(paths, min_size=1, max_size=3), st.floats(0, 20))
def test_alarms_keep_their_distance_during_cooldown(them: list[Path], cooldown: float) -> None:
    things = [Thing(path) for path in them]
    quiet = [rule.model_copy(update={"cooldown_s": cooldown}) for rule in everything]
    found = watch(quiet, things, 24, 5)
    for rule in quiet:
        at = [alarm.capture_us for alarm in found if alarm.rule == rule.id]
        assert all(b - a >= round(cooldown * 1e6) for a, b in itertools.pairwise(at))


def test_sizes_and_shapes() -> None:
    for size in [(640, 360), (641, 271), (360, 640), (640, 480), (1920, 1080)]:
        pipeline = CameraPipeline(plan(ENTRY, LINE))
        found = alarms(run(pipeline, frames([THROUGH], 20, 5, size=size)))
        assert [alarm.rule for alarm in found] == ["yard", "gate"], size
