"""The pipeline as its two drivers use it: plans that change, cameras side by side, odd streams."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pipelines.domain import (
    CountRule,
    Detections,
    FrameStamp,
    LineCrossRule,
    LoiterRule,
    ZoneEntryRule,
)
from pipelines.pipeline import CameraPipeline, StepResult
from tests.unit.pipelines.world import (
    SIZE,
    START_US,
    Thing,
    alarms,
    chain,
    frames,
    keys,
    plan,
    run,
    seconds_of,
    stand,
    walk,
)

ZONE = ((0.3, 0.4), (0.7, 0.4), (0.7, 1.0), (0.3, 1.0))
ENTRY = ZoneEntryRule(id="yard", polygon=ZONE, cooldown_s=0)
LINE = LineCrossRule(id="gate", line=((0.5, 1.0), (0.5, 0.0)), cooldown_s=0)
LOITER = LoiterRule(id="bench", polygon=ZONE, seconds=20, cooldown_s=0)
COUNT = CountRule(id="crowd", polygon=ZONE, n=2, seconds=3, cooldown_s=0)
EVERYTHING = (ENTRY, LINE, LOITER, COUNT)

THROUGH = Thing(walk((0.05, 0.8), (0.95, 0.8), 0, 20))
STAYS = Thing(chain(walk((0.05, 0.7), (0.4, 0.7), 0, 8), stand((0.4, 0.7), 8)))
PEOPLE = [THROUGH, STAYS]


def test_the_same_stream_gives_the_same_results() -> None:
    def once() -> list[StepResult]:
        return run(CameraPipeline(plan(*EVERYTHING)), frames(PEOPLE, 40, 5, noise=0.03))

    assert once() == once()
    assert {alarm.rule for alarm in alarms(once())} == {"yard", "gate", "bench", "crowd"}


def test_two_cameras_interleaved_are_two_cameras() -> None:
    cameras = {name: CameraPipeline(plan(*EVERYTHING, camera=name)) for name in ("north", "south")}
    streams = {
        "north": list(frames(PEOPLE, 30, 5)),
        "south": list(frames([THROUGH], 30, 5)),
    }
    results: dict[str, list[StepResult]] = {"north": [], "south": []}
    for number in range(150):
        for name, pipeline in cameras.items():
            results[name].append(pipeline.step(*streams[name][number]))
    for name, stream in streams.items():
        assert results[name] == run(CameraPipeline(plan(*EVERYTHING, camera=name)), stream)
    # The very same walk before two cameras is two alarms of two cameras.
    ids = [{alarm.id for alarm in alarms(results[name])} for name in ("north", "south")]
    assert ids[0].isdisjoint(ids[1])


def test_a_new_plan_keeps_tracks_and_the_state_of_rules_that_stay() -> None:
    stream = list(frames(PEOPLE, 40, 5))
    pipeline = CameraPipeline(plan(ENTRY, LOITER))
    before = run(pipeline, stream[:100])
    pipeline.apply(plan(LOITER, ENTRY, LINE, fps=10, revision=1))
    after = run(pipeline, stream[100:])
    assert keys(before) == keys(after)
    assert [a.rule for a in alarms(before)] == ["yard", "yard"]
    # Loitering since 5.7 s goes on over the change at 20 s; nobody enters anew.
    assert [(a.rule, seconds_of(a)) for a in alarms(after)] == [
        ("bench", pytest.approx(26, abs=0.6))
    ]


def test_a_new_rule_does_not_fire_for_objects_already_inside() -> None:
    stream = list(frames(PEOPLE, 40, 5))
    pipeline = CameraPipeline(plan())
    run(pipeline, stream[:50])  # both are inside, or on their way
    pipeline.apply(plan(ENTRY, revision=1))
    assert alarms(run(pipeline, stream[50:])) == []


def test_an_edited_rule_does_not_reuse_alarm_ids() -> None:
    path = chain(walk((0.1, 0.8), (0.9, 0.8), 0, 10), walk((0.9, 0.8), (0.1, 0.8), 10, 20))
    stream = list(frames([Thing(path)], 20, 5))
    pipeline = CameraPipeline(plan(LINE))
    first = alarms(run(pipeline, stream[:50]))
    moved = LINE.model_copy(update={"line": ((0.6, 1.0), (0.6, 0.0))})
    pipeline.apply(plan(moved, revision=1))
    second = alarms(run(pipeline, stream[50:]))
    assert [alarm.episode for alarm in first + second] == [0, 1]
    assert first[0].id != second[0].id


def test_an_overtaken_plan_is_ignored_and_a_wrong_one_refused() -> None:
    pipeline = CameraPipeline(plan(ENTRY, revision=5))
    pipeline.apply(plan(revision=4))
    assert pipeline.plan.revision == 5
    with pytest.raises(ValueError, match="to the pipeline of"):
        pipeline.apply(plan(camera="other", revision=9))


def test_late_frames_change_nothing() -> None:
    stream = list(frames(PEOPLE, 30, 5))
    clean = run(CameraPipeline(plan(*EVERYTHING)), stream)
    pipeline = CameraPipeline(plan(*EVERYTHING))
    results: list[StepResult] = []
    for number, item in enumerate(stream):
        results.append(pipeline.step(*item))
        assert pipeline.step(*item) == StepResult(late=True)
        if number > 2:
            assert pipeline.step(*stream[number - 2]).late
    assert results == clean


@pytest.mark.parametrize("step_s", [-3600.0, -5.0, 3 * 86_400.0])
def test_a_clock_that_jumps_raises_no_second_alarm_for_who_stays(step_s: float) -> None:
    stream = list(frames([STAYS], 60, 5))
    moved = [
        (replace(s, capture_us=s.capture_us + round(step_s * 1e6)), d) for s, d in stream[200:]
    ]
    pipeline = CameraPipeline(plan(ENTRY, LOITER))
    found = alarms(run(pipeline, stream[:200] + moved))
    assert [alarm.rule for alarm in found] == ["yard", "bench"]


def test_irregular_frames() -> None:
    """What a busy detector leaves of 25 frames a second: any one of them, 2 to 12 in a second."""
    chance = random.Random(3)
    stream = [item for item in frames(PEOPLE, 40, 25) if chance.random() < 0.25]
    found = alarms(run(CameraPipeline(plan(*EVERYTHING, fps=10)), stream))
    assert sorted(a.rule for a in found) == ["bench", "crowd", "gate", "yard", "yard"]


def test_a_camera_away_raises_nothing_new_for_who_stays() -> None:
    stream = [
        item
        for item in frames([STAYS], 100, 5)
        if not 40 <= (item[0].capture_us - START_US) / 1e6 < 70
    ]
    found = alarms(run(CameraPipeline(plan(ENTRY, LOITER)), stream))
    assert [alarm.rule for alarm in found] == ["yard", "bench"]


def test_tracks_are_shown_once_confirmed_and_sorted() -> None:
    results = run(CameraPipeline(plan()), frames(PEOPLE, 5, 5))
    assert [len(result.tracks) for result in results[:5]] == [0, 0, 2, 2, 2]
    for result in results:
        assert [t.key for t in result.tracks] == sorted(t.key for t in result.tracks)


def test_empty_frames() -> None:
    pipeline = CameraPipeline(plan(*EVERYTHING))
    for number in range(10):
        stamp = FrameStamp(START_US + number * 200_000, number, *SIZE)
        assert pipeline.step(stamp, Detections.empty()) == StepResult()
    rest = pipeline.finish()
    assert replace(rest, analysed=()) == StepResult()
    assert [len(cell.times) for cell in rest.analysed] == [10]


def test_memory_is_released() -> None:
    """After the last walker is forgotten, nothing of the state is left but the rules."""
    pipeline = CameraPipeline(plan(*EVERYTHING))
    walkers = [
        Thing(walk((0.05, 0.5 + 0.05 * i), (0.95, 0.5 + 0.05 * i), 4 * i, 4 * i + 15))
        for i in range(8)
    ]
    run(pipeline, frames(walkers, 200, 2))
    assert pipeline.held() == {
        "tracks": 0,
        "crops": 0,
        "paths": 0,
        "episodes": 0,
        "rules": 0,
    }
