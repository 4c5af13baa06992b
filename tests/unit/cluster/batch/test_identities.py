"""What was seen before keeps its name and its id, whichever frames are analysed now.

How many events there are is known from how each scene was made.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from cluster.batch.identities import PATH_MARGIN_US, Identities, Known
from cluster.batch.replay import Findings, Replay
from cluster.batch.table import FrameDetections
from pipelines.domain import (
    Alarm,
    CameraPlan,
    CountRule,
    Detections,
    FrameStamp,
    LineCrossRule,
    LoiterRule,
    TrackPath,
    ZoneEntryRule,
)
from pipelines.pipeline import CameraPipeline
from tests.unit.pipelines.world import SIZE, START_US, Thing, chain, detections, plan, stand, walk

RIGHT = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
RULES = (
    ZoneEntryRule(id="right", polygon=RIGHT, cooldown_s=0.0),
    LineCrossRule(id="line", line=((0.3, 0.0), (0.3, 1.0)), cooldown_s=0.0),
    LoiterRule(id="stays", polygon=RIGHT, seconds=6.0, cooldown_s=0.0),
    CountRule(id="crowd", polygon=RIGHT, n=3, seconds=1.0, cooldown_s=0.0),
)
THINGS = [
    # Parked there before.
    Thing(stand((0.9, 0.55), begin_s=-60), 0.15, 0.2, label="car"),
    # Two people behind one another, who cross everything.
    Thing(walk((0.0, 0.5), (0.97, 0.5), 4, 12)),
    Thing(walk((0.0, 0.5), (0.97, 0.5), 6, 14)),
    # Two side by side.
    Thing(walk((0.02, 0.8), (0.95, 0.8), 18, 24)),
    Thing(walk((0.1, 0.82), (0.98, 0.82), 18, 24)),
    # A fast one.
    Thing(walk((0.0, 0.95), (0.99, 0.95), 27, 29.5)),
    # One who comes, stays for twelve seconds, leaves as a van that was called a truck at times.
    Thing(
        chain(
            walk((0.05, 0.7), (0.6, 0.7), 32, 36),
            stand((0.6, 0.7), 36, 48),
            walk((0.6, 0.7), (0.05, 0.7), 48, 52),
        ),
        0.12,
        0.2,
        label="car",
        label_at=lambda t: "truck" if round(t * 5) % 7 == 0 else "car",
    ),
    # Three who gather, and go.
    *(
        Thing(
            chain(
                walk((0.1, y), (0.7, y), 54 + n, 58 + n),
                stand((0.7, y), 58 + n, 66),
                walk((0.7, y), (0.1, y), 66, 70),
            )
        )
        for n, y in enumerate((0.45, 0.7, 0.95))
    ),
]
SECONDS = 74.0
EXPECTED = {
    "right": 2 + 2 + 1 + 1 + 3,
    "line": 2 + 2 + 1 + 2 + 6,
    "stays": 1 + 1 + 3,
}
"""Who enters (the parked car was there before); who crosses, there and back; who stays for six
seconds."""


@dataclass
class Records:
    """What is recorded of one camera."""

    alarms: dict[object, Alarm] = field(default_factory=dict)
    paths: dict[tuple[str, int], TrackPath] = field(default_factory=dict)

    def known(self, identities: Identities, findings: Findings) -> Known:
        span = identities.span(findings)
        if span is None:
            return Known()
        from_us, to_us = span.widened(PATH_MARGIN_US)
        since_us, until_us = span.widened(identities.margin_us)
        return Known(
            [p for p in self.paths.values() if p.end_us >= from_us and p.start_us <= to_us],
            [a for a in self.alarms.values() if since_us <= a.capture_us <= until_us],
        )

    def count(self) -> Counter[str]:
        return Counter(alarm.rule for alarm in self.alarms.values())

    @property
    def tracks(self) -> set[str]:
        return {track for track, _ in self.paths}


Frames = list[tuple[FrameStamp, Detections]]


def scene(
    things: Sequence[Thing] = THINGS,
    *,
    fps: float = 5.0,
    skip: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
    phase_s: float = 0.0,
    seconds: float = SECONDS,
) -> Frames:
    """The frames of an analysis that skips some at random."""
    chance, found = random.Random(seed), []
    for number in range(round(seconds * fps)):
        t = phase_s + number / fps
        if chance.random() >= skip:
            stamp = FrameStamp(START_US + round(t * 1e6), number, *SIZE)
            found.append((stamp, detections(things, t, SIZE, noise, seed)))
    return found


def live(frames: Frames, the_plan: CameraPlan) -> Records:
    """Analyse them as a watcher does."""
    records, pipeline = Records(), CameraPipeline(the_plan)
    results = [pipeline.step(stamp, found) for stamp, found in frames]
    for result in (*results, pipeline.finish()):
        records.alarms |= {alarm.id: alarm for alarm in result.alarms}
        records.paths |= {(path.track, path.start_us): path for path in result.paths}
    return records


def job(
    frames: Frames, the_plan: CameraPlan, records: Records, *, chunk: int = 150
) -> tuple[int, set[str]]:
    """Analyse them as a job does, into the records. New alarms, and names of the objects."""
    replay, identities = Replay(the_plan, 0), Identities(the_plan.key, the_plan.rules)
    new, objects = 0, set[str]()
    for findings in _findings(replay, frames, chunk):
        known = records.known(identities, findings)
        named = identities.named(findings, known)
        ids = {alarm.id for alarm in known.alarms}
        fresh = [raised.alarm for raised in named.alarms if raised.alarm.id not in ids]
        assert not {alarm.id for alarm in fresh} & records.alarms.keys(), "an id of another event"
        identities.take(fresh)
        records.alarms |= {alarm.id: alarm for alarm in fresh}
        records.paths |= {(path.track, path.start_us): path for path in named.paths}
        new += len(fresh)
        objects |= {seen.sighting.track for seen in named.objects}
    return new, objects


def _findings(replay: Replay, frames: Frames, chunk: int) -> Iterator[Findings]:
    rows = [FrameDetections(s.capture_us, s.capture_us - START_US, SIZE, d) for s, d in frames]
    for start in range(0, len(rows), chunk):
        yield replay.feed("a.mp4", rows[start : start + chunk])
    yield replay.finish()


def the_plan(fps: float = 5.0) -> CameraPlan:
    return plan(*RULES, fps=fps)


def of_single_objects(records: Records) -> dict[str, int]:
    return {rule: count for rule, count in records.count().items() if rule != "crowd"}


def test_the_scene_is_what_it_says() -> None:
    records = live(scene(), the_plan())
    assert of_single_objects(records) == EXPECTED
    assert len(records.tracks) == len(THINGS)


@pytest.mark.parametrize("seed", range(10))
def test_skipped_frames_make_no_second_alarm(seed: int) -> None:
    """Live skips a fifth of the frames, here and there; the job analyses all of them."""
    records = live(scene(skip=0.2, noise=0.02, seed=seed), the_plan())
    seen_live = records.tracks
    job(scene(noise=0.02, seed=100 + seed), the_plan(), records)
    assert of_single_objects(records) == EXPECTED
    assert records.tracks == seen_live


@pytest.mark.parametrize("fps", [2.5, 4.0, 7.0, 10.0])
def test_another_rate_makes_no_second_alarm(fps: float) -> None:
    records = live(scene(noise=0.02), the_plan())
    job(scene(fps=fps, phase_s=0.07, noise=0.03, seed=1), the_plan(fps), records)
    assert of_single_objects(records) == EXPECTED
    assert len(records.tracks) == len(THINGS)


@pytest.mark.parametrize("chunk", [10, 37, 150, 10_000])
def test_the_chunk_size_does_not_matter(chunk: int) -> None:
    records = live(scene(skip=0.2, seed=3), the_plan())
    job(scene(noise=0.02, seed=4), the_plan(), records, chunk=chunk)
    assert of_single_objects(records) == EXPECTED


def test_what_only_the_job_saw_is_new() -> None:
    """Live missed every second object; all alarms of the others are known."""
    some = THINGS[::2]
    records = live(scene(some), the_plan())
    before = of_single_objects(records)
    assert sum(before.values()) < sum(EXPECTED.values())
    job(scene(skip=0.1, seed=5), the_plan(), records)
    assert of_single_objects(records) == EXPECTED
    assert len(records.tracks) == len(THINGS)


def test_without_anything_known_a_job_is_the_plain_pipeline() -> None:
    records = Records()
    job(scene(noise=0.02), the_plan(), records)
    plain = live(scene(noise=0.02), the_plan())
    assert records.alarms.keys() == plain.alarms.keys()
    assert records.tracks == plain.tracks


@pytest.mark.parametrize("seed", range(3))
def test_the_same_job_again_changes_nothing(seed: int) -> None:
    records = live(scene(skip=0.3, seed=seed), the_plan())
    frames = scene(noise=0.03, seed=50 + seed)
    _, objects = job(frames, the_plan(), records)
    alarms, tracks = dict(records.alarms), records.tracks
    again, same_objects = job(frames, the_plan(), records, chunk=60)
    assert (again, same_objects) == (0, objects)
    assert records.alarms == alarms
    assert records.tracks == tracks


def test_a_third_analysis_finds_what_two_others_know() -> None:
    records = live(scene(skip=0.2, seed=1), the_plan())
    for seed, fps in ((2, 4.0), (3, 6.0), (4, 5.0)):
        job(scene(fps=fps, skip=0.1, noise=0.02, seed=seed), the_plan(fps), records)
    assert of_single_objects(records) == EXPECTED


def test_an_object_that_comes_back_is_an_event_again() -> None:
    """The same rule and place, seconds later: nobody counts it as the first."""
    visits = [(4.0, 7.0), (9.0, 12.0), (14.0, 17.0)]
    things = [Thing(walk((0.3, 0.8), (0.9, 0.8), *visit)) for visit in visits]
    records = live(scene(things, skip=0.2, seed=1, seconds=20), the_plan())
    job(scene(things, seconds=20), the_plan(), records)
    assert records.count()["right"] == len(visits)


def test_two_who_enter_together_are_two_though_one_is_known() -> None:
    pair = [
        Thing(walk((0.2, 0.80), (0.9, 0.80), 4, 8)),
        Thing(walk((0.2, 0.84), (0.9, 0.84), 4, 8), width=0.04),
    ]
    apart = [pair[0], replace(pair[1], path=walk((0.26, 0.84), (0.96, 0.84), 4, 8))]
    records = live(scene(apart[:1], seconds=12), the_plan())
    assert records.count()["right"] == 1
    job(scene(apart, seconds=12), the_plan(), records)
    assert records.count()["right"] == 2
