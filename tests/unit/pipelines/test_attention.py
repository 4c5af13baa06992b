"""Which frames are worth a detection: bounds of rates, determinism, and what is not missed."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.attention import (
    CLOSE_US,
    LINGER_US,
    AttentiveSampler,
    Rates,
    Sights,
    Urgency,
    near_rules,
)
from pipelines.domain import Camera, CameraPlan, FrameStamp, LineCrossRule, ZoneEntryRule
from pipelines.pipeline import CameraPipeline, StepResult
from pipelines.sampling import FrameSampler, Skip
from tests.unit.pipelines.scenes import CAMERA_FPS, Filmed, look, noise
from tests.unit.pipelines.world import (
    SIZE,
    START_US,
    Thing,
    alarms,
    detections,
    keys,
    stand,
    walk,
)

PHASE = 0.3
LINE = LineCrossRule(id="line", name="line", line=((0.5, 0.0), (0.5, 1.0)))
ZONE = ZoneEntryRule(
    id="zone", name="zone", polygon=((0.3, 0.5), (0.7, 0.5), (0.7, 1.0), (0.3, 1.0))
)


def camera(**fields: object) -> Camera:
    known = {"tenant": "acme", "id": "gate", "name": "Gate", "url": "rtsp://camera.test/1"}
    return Camera.model_validate({**known, "attention": True, **fields})


def sampler(**fields: object) -> AttentiveSampler:
    return AttentiveSampler(Rates.of(camera(**fields)), PHASE)


def person(seconds: float, begin_s: float = 12.0) -> Thing:
    path = walk((0.0, 0.8), (1.0, 0.8), begin_s, begin_s + seconds)
    return Thing(path, width=60 / SIZE[0], height=180 / SIZE[1])


def taken(scene: Filmed, seconds: float, begin_s: float = 0.0) -> dict[float, Urgency]:
    return {t: urgency for t, urgency, _ in look(sampler(), scene, seconds, begin_s)}


# ------------------------------------------------------------------ rates


@pytest.mark.parametrize(
    ("fields", "closer", "beat"),
    [
        ({}, 2, 10),
        ({"detect_fps": 12}, 1, 24),
        ({"detect_fps": 25}, 1, 50),
        ({"detect_fps": 0.2}, 60, 1),
        ({"detect_fps": 2, "detect_fps_min": 0.75}, 6, 2),
        ({"detect_fps_min": 5, "detect_fps_max": 5}, 1, 1),
        ({"detect_fps_min": 9, "detect_fps_max": 10}, 2, 1),
    ],
)
def test_rates_are_whole_multiples_within_the_bounds(
    fields: dict[str, float], closer: int, beat: int
) -> None:
    rates = Rates.of(camera(**fields))
    assert (rates.closer, rates.beat) == (closer, beat)


@settings(max_examples=20, deadline=None)
@given(
    detect_fps=st.sampled_from([1.0, 2.5, 5.0, 7.0]),
    fps_min=st.sampled_from([0.5, 0.8, 2.0]),
    fps_max=st.sampled_from([8.0, 12.0, 15.0]),
    phase=st.floats(0, 1),
    events=st.lists(st.tuples(st.integers(0, 250), st.integers(1, 60)), max_size=4),
    jitter=st.lists(st.integers(0, 9_000), min_size=250, max_size=250),
)
def test_rates_keep_their_bounds_and_lower_ones_are_part_of_higher_ones(
    detect_fps: float,
    fps_min: float,
    fps_max: float,
    phase: float,
    events: list[tuple[int, int]],
    jitter: list[int],
) -> None:
    """Whatever moves whenever, in frames that come unevenly."""
    rates = Rates.of(camera(detect_fps=detect_fps, detect_fps_min=fps_min, detect_fps_max=fps_max))
    attentive, even = AttentiveSampler(rates, phase), FrameSampler(detect_fps, phase)
    still = np.full((90, 160), 90, np.uint8)
    offered, times, evenly = 0, [], []
    for number, late_us in enumerate(jitter):
        at_us = START_US + number * 40_000 + late_us
        luma = still.copy()
        for begin, length in events:
            if begin <= number < begin + length:
                luma[20:50, (number * 3) % 140 : (number * 3) % 140 + 16] = 220
        offered += 1
        if even.offer(at_us):
            even.done()
            evenly.append(at_us)
        if attentive.offer(at_us, lambda luma=luma: luma):  # type: ignore[misc]
            times.append((at_us, attentive.urgency))
            attentive.done()
    gaps = [b - a for (a, _), (b, _) in pairwise(times)]
    # From the first frame of one cell to the first of the next, each at most one frame late.
    frame_us = 50_000
    assert max(gaps) <= 1e6 / min(fps_min, detect_fps) + frame_us
    assert min(gaps[1:], default=1e9) >= 1e6 / max(fps_max, detect_fps) - frame_us
    usual = [at_us for at_us, urgency in times if urgency is not Urgency.NEW]
    assert set(usual) <= set(evenly)
    assert offered == len(times) + sum(attentive.skipped.values())


def test_the_same_frames_give_the_same_decisions() -> None:
    scene = Filmed([person(4.0)])
    assert taken(scene, 20.0) == taken(scene, 20.0)


@pytest.mark.parametrize("begin_s", [3.0, 11.0, 13.0, 14.96])
def test_who_begins_later_has_the_frames_of_who_was_there_before(begin_s: float) -> None:
    """A job whose chunk begins anywhere analyses what live has analysed, and more."""
    scene = Filmed([person(4.0)])
    before = {t: u for t, u in taken(scene, 24.0).items() if t > begin_s}
    attentive = AttentiveSampler(Rates.of(camera()), PHASE, Urgency.NEW)
    later = {t: urgency for t, urgency, _ in look(attentive, scene, 24.0, begin_s)}
    assert before.keys() <= later.keys()
    late = {t: u for t, u in later.items() if t > 20.0}
    assert late == {t: u for t, u in before.items() if t > 20.0}


# ------------------------------------------------------------------ urgency


def test_an_empty_yard_costs_a_heartbeat() -> None:
    urgencies = {t: u for t, u in taken(Filmed(), 30.0).items() if t > 5.0}
    assert set(urgencies.values()) == {Urgency.HEARTBEAT}
    assert [round(b - a, 2) for a, b in pairwise(urgencies)] == [2.0] * (len(urgencies) - 1)


def test_what_is_new_is_looked_at_closely_then_at_the_usual_rate_then_not() -> None:
    urgencies = taken(Filmed([person(8.0)]), 30.0)
    began, left = 12.0, 20.0
    first = min(t for t, urgency in urgencies.items() if urgency is Urgency.NEW)
    assert first - began <= 0.4
    close = [t for t, urgency in urgencies.items() if urgency is Urgency.NEW]
    assert max(close) - first < CLOSE_US / 1e6
    assert len(close) in (15, 16)  # 10 a second for 1.5 s
    usual = [t for t in urgencies if max(close) < t <= left]
    assert len(usual) in range(31, 34)  # 5 a second for 6.5 s
    ended = left + LINGER_US / 1e6
    # The place from which the person went is remembered, and the last look showed nobody.
    assert all(u is Urgency.HEARTBEAT for t, u in urgencies.items() if t > ended + 2.0)


def test_movement_near_a_rule_is_more_urgent_and_no_more_frequent() -> None:
    scene = Filmed([person(12.0)])
    without = taken(scene, 24.0)
    with_rules = sampler()
    with_rules.set_rules((ZONE,))
    near = {t: urgency for t, urgency, _ in look(with_rules, scene, 24.0)}
    assert list(near) == list(without)
    times = [t for t, urgency in near.items() if urgency is Urgency.NEAR_RULE]
    # In the zone from 0.3 to 0.7 of a walk of 12 s, and up to three cells before and after.
    assert 12 + 0.3 * 12 - 2.5 < min(times) < 12 + 0.3 * 12
    assert 12 + 0.7 * 12 < max(times) < 12 + 0.7 * 12 + 2.5


def test_cells_near_a_line() -> None:
    near = near_rules((LINE,), (12, 20))
    assert near[:, 8:13].all()
    assert not near[:, :7].any()
    assert not near[:, 14:].any()


def test_a_parked_car_costs_a_heartbeat_and_one_that_moves_does_not() -> None:
    sights = Sights()

    def restless(t: float, x: float) -> bool:
        thing = Thing(stand((x, 0.8)), width=0.2, height=0.15, label="car")
        return sights.restless(round(t * 1e6), detections([thing], t, SIZE), SIZE)

    assert [restless(t, 0.4) for t in (0.0, 1.0, 2.0, 3.0, 5.0, 7.0)] == [True] * 3 + [False] * 3
    assert restless(9.0, 0.6)
    assert restless(11.0, 0.6)
    assert not restless(13.0, 0.6)


def test_places_of_a_crowd_are_bounded() -> None:
    sights, chance = Sights(), random.Random(1)
    crowd = [
        Thing(stand((chance.random(), 0.5 + chance.random() / 2)), 0.01, 0.05) for _ in range(500)
    ]
    for second in range(12):
        sights.restless(second * 1_000_000, detections(crowd, 0.0, SIZE), SIZE)
    assert len(sights._places) <= 50


def test_a_person_whom_movement_misses_is_found_by_the_heartbeat_and_then_followed() -> None:
    """Somebody dressed like the wall: 3 grey levels."""
    scene = Filmed([person(20.0)], still=np.full((90, 160), 100, np.float32), brightness=103.0)
    urgencies = taken(scene, 30.0)
    begun = [t for t, urgency in urgencies.items() if t > 12 and urgency is Urgency.TRACKED]
    assert min(begun) <= 12.0 + 2.0 + 0.4 + 0.2
    assert len([t for t in begun if 20.0 <= t < 25.0]) == 25


# ------------------------------------------------------------------ a frame that is due later


def test_a_frame_that_was_due_while_the_detector_was_busy_is_made_up_for() -> None:
    attentive = sampler()
    luma = Filmed().luma(0.0)
    assert attentive.offer(START_US, lambda: luma)
    assert not attentive.offer(START_US + 200_000, lambda: luma)
    attentive.done()
    assert attentive.offer(START_US + 240_000, lambda: luma)
    assert attentive.skipped == {Skip.BUSY: 1}


def test_a_frame_that_the_detector_dropped_is_made_up_for() -> None:
    attentive = sampler()
    for t, *_ in look(attentive, Filmed(), 20.0):
        last_s = t
    attentive.owe()
    following = [t for t, *_ in look(attentive, Filmed(), last_s + 4.1, 20.0)]
    assert following[0] == 20.0


def test_times_at_which_nothing_moved_are_given_once() -> None:
    attentive = sampler()
    quiet = {t: attentive.take_quiet() for t, *_ in look(attentive, Filmed(), 20.0)}
    between = [(t - 2.0, quiet[t], t) for t in quiet if t > 10.0]
    for before, times, after in between:
        seconds = [(at_us - START_US) / 1e6 for at_us in times]
        assert len(seconds) == 9
        assert all(before < at < after for at in seconds)


def test_unstamped_and_old_frames_are_counted_and_a_clock_set_back_begins_anew() -> None:
    attentive = sampler()
    luma = Filmed().luma(0.0)
    assert not attentive.offer(0, lambda: luma)
    assert attentive.offer(START_US, lambda: luma)
    attentive.done()
    assert not attentive.offer(START_US - 40_000, lambda: luma)
    assert attentive.offer(START_US - 3_600_000_000, lambda: luma)
    assert attentive.skipped == Counter({Skip.UNSTAMPED: 1, Skip.OLD: 1})


# ------------------------------------------------------------------ with tracks and rules


def run(scene: Filmed, seconds: float) -> tuple[list[StepResult], int]:
    plan = CameraPlan(camera=camera(), rules=(LINE, ZONE))
    pipeline, attentive = CameraPipeline(plan), AttentiveSampler(Rates.of(plan.camera), PHASE)
    results = []
    for number, (t, _, found) in enumerate(look(attentive, scene, seconds)):
        stamp = FrameStamp(START_US + round(t * 1e6), number, *SIZE)
        results.append(pipeline.step(stamp, found, attentive.take_quiet()))
    return results, len(results)


def flaky(thing: Thing, seed: int, missed: float = 0.1) -> Thing:
    """The detector misses it now and then."""
    chance = random.Random(seed)
    found = [chance.random() >= missed for _ in range(10_000)]
    return Thing(
        thing.path, thing.width, thing.height, thing.label, seen=lambda t: found[round(t * 25)]
    )


@pytest.mark.parametrize("seconds", [6.0, 4.0, 3.0, 2.0, 1.5])
def test_who_crosses_raises_what_they_raise_at_an_even_rate(seconds: float) -> None:
    for seed in range(2):
        begin_s = 12.0 + random.Random(seed).random() * 2
        scene = Filmed([flaky(person(seconds, begin_s), seed)], seed=seed)
        results, _ = run(scene, begin_s + seconds + 3.0)
        fired = Counter(alarm.rule for alarm in alarms(results))
        assert fired == {"line": 1, "zone": 1}


def test_a_parked_car_stays_one_track_through_heartbeats() -> None:
    car = Thing(stand((0.3, 0.8)), width=0.2, height=0.15, label="car")
    results, looks = run(Filmed([flaky(car, 3, missed=0.15)]), 80.0)
    assert looks < 80 * 0.5 + 5 * 8
    assert len(keys(results)) == 1
    last = results[-1].tracks or results[-2].tracks
    assert last[0].first_seen_us < START_US + 2_000_000
    assert alarms(results) == []


def test_the_camera_counts_as_analysed_where_nothing_moved() -> None:
    """So that who hides persons in evidence knows that nobody came between two heartbeats."""
    results, _ = run(Filmed(effects=(noise(2.0),)), 40.0)
    times = [
        cell.start_us + ms * 1_000 for r in results for cell in r.analysed for ms in cell.times
    ]
    assert max(b - a for a, b in pairwise(times)) <= 200_000 + 1_000_000 // CAMERA_FPS
