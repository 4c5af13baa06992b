"""Chunks, stored and read again, give what one uninterrupted run gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from cluster.batch.replay import Findings, Fold, Moment, SeenObject
from cluster.batch.table import ChunkFacts, Looked, decode, encode, read_facts
from pipelines.domain import AlarmSource, CameraPlan, Detections, ZoneEntryRule
from pipelines.pipeline import CameraPipeline
from tests.unit.pipelines.world import SIZE, START_US, Thing, frames, plan, stand, walk

EVERYWHERE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
RULES = (
    ZoneEntryRule(id="all", polygon=EVERYWHERE, cooldown_s=0.0),
    ZoneEntryRule(id="left", polygon=LEFT, cooldown_s=0.0),
)
THINGS = [
    Thing(stand((0.8, 0.9), begin_s=-10)),
    Thing(walk((0.9, 0.6), (0.1, 0.6), 3, 12)),
    Thing(walk((0.1, 0.8), (0.7, 0.8), 20, 30), label="dog"),
]
SECONDS = 40.0


def looked() -> list[Looked]:
    return [
        Looked(stamp.capture_us, stamp.capture_us - START_US, SIZE, found)
        for stamp, found in frames(THINGS, SECONDS, noise=0.02)
    ]


def the_plan() -> CameraPlan:
    return plan(*RULES)


def stored(pictures: list[Looked]) -> Iterator[Looked]:
    return decode(encode(pictures, ChunkFacts()))


def folded(*chunks: list[Looked], from_us: int = 0) -> Findings:
    fold, everything = Fold(the_plan(), from_us), Findings()
    for chunk in chunks:
        take(everything, fold.chunk("a.mp4", stored(chunk)))
    take(everything, fold.finish())
    assert fold.late == 0
    return everything


def take(everything: Findings, some: Findings) -> None:
    everything.alarms += some.alarms
    everything.objects += some.objects
    everything.paths += some.paths


def test_a_table_gives_back_what_went_in() -> None:
    """Pictures without a detection, too, and numbers to the last bit."""
    pictures = looked()
    assert any(len(p.detections) == 0 for p in [*pictures, empty()])
    facts = ChunkFacts(decoded=7, looked=3, last_us=5, corrupt=1, core_s=0.5, problem="cut off")
    data = encode([*pictures, empty()], facts)
    assert read_facts(data) == facts
    for before, after in zip([*pictures, empty()], decode(data), strict=True):
        assert (after.capture_us, after.media_us, after.size) == (
            before.capture_us,
            before.media_us,
            before.size,
        )
        assert after.detections.labels == before.detections.labels
        np.testing.assert_array_equal(after.detections.xyxy, before.detections.xyxy)
        np.testing.assert_array_equal(after.detections.confidence, before.detections.confidence)
    assert list(decode(encode([], facts))) == []


def empty() -> Looked:
    return Looked(START_US + 10**9, 10**9, SIZE, Detections.empty())


@pytest.mark.parametrize("data", [b"", b"PAR1 and then nothing"])
def test_what_is_no_table_is_said(data: bytes) -> None:
    with pytest.raises(ValueError, match="no table"):
        read_facts(data)


@pytest.mark.parametrize("size", [1, 7, 50, 199])
def test_seams_leave_no_trace(size: int) -> None:
    pictures = looked()
    chunks = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    assert folded(*chunks) == folded(pictures)


def test_what_is_found_is_what_the_pipeline_says() -> None:
    """The alarms of a plain run of the pipeline, marked as coming from a recording."""
    pipeline = CameraPipeline(the_plan())
    said = [
        alarm.id
        for stamp, found in frames(THINGS, SECONDS, noise=0.02)
        for alarm in pipeline.step(stamp, found).alarms
    ]
    found = folded(looked())
    assert [raised.alarm.id for raised in found.alarms] == said
    assert len(said) >= 3
    assert {raised.alarm.source for raised in found.alarms} == {AlarmSource.BATCH}
    assert {path.source for path in found.paths} == {AlarmSource.BATCH}
    for raised in found.alarms:
        assert raised.moment == Moment("a.mp4", raised.alarm.capture_us - START_US)


def test_each_object_is_handed_out_once() -> None:
    found = folded(looked())
    tracks = [seen.sighting.track for seen in found.objects]
    assert len(tracks) == len(set(tracks)) == len(THINGS)


def test_what_was_over_before_is_not_handed_out() -> None:
    """Whoever stood there before `from` raises nothing anew, because it was seen before."""
    from_us = START_US + 15_000_000
    found, everything = folded(looked(), from_us=from_us), folded(looked())
    wanted = [r.alarm.id for r in everything.alarms if r.alarm.capture_us >= from_us]
    assert [r.alarm.id for r in found.alarms] == wanted
    assert 0 < len(wanted) < len(everything.alarms)
    assert len(found.objects) == 2  # who stands, and the dog; who walked is gone
    assert all(path.end_us >= from_us for path in found.paths)


def test_files_that_overlap_are_looked_at_once() -> None:
    fold = Fold(the_plan(), 0)
    pictures = looked()
    first, second = fold.chunk("a.mp4", pictures[:120]), fold.chunk("b.mp4", pictures[80:])
    assert fold.late == 40
    assert [r.alarm.id for r in (*first.alarms, *second.alarms)] == [
        r.alarm.id for r in folded(pictures).alarms
    ]


def test_the_first_picture_of_a_file_is_taken_where_it_is_due() -> None:
    """Its worker did not know the picture before it; the fold does."""
    pictures = looked()
    second = [replace_time(pictures[1], pictures[0].capture_us + 40_000), *pictures[1:]]
    fold = Fold(the_plan(), 0)
    fold.chunk("a.mp4", pictures[:1], begins=True, last_us=pictures[0].capture_us)
    fold.chunk("b.mp4", second, begins=True)
    whole = Fold(the_plan(), 0)
    whole.chunk("a.mp4", pictures)
    assert fold.finish().objects == [replace_url(seen, "b.mp4") for seen in whole.finish().objects]


def replace_time(picture: Looked, capture_us: int) -> Looked:
    return replace(picture, capture_us=capture_us)


def replace_url(seen: SeenObject, url: str) -> SeenObject:
    moment, box = seen.best
    return replace(seen, best=(replace(moment, url=url), box))
