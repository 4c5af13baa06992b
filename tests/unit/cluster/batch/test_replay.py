"""Stored chunks give the same findings as one uninterrupted run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from cluster.batch.replay import Findings, FrameRef, Replay, SeenObject
from cluster.batch.table import ChunkFacts, FrameDetections, decode, encode, read_facts
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


def analysed() -> list[FrameDetections]:
    return [
        FrameDetections(stamp.capture_us, stamp.capture_us - START_US, SIZE, found)
        for stamp, found in frames(THINGS, SECONDS, noise=0.02)
    ]


def the_plan() -> CameraPlan:
    return plan(*RULES)


def stored(frames: list[FrameDetections]) -> Iterator[FrameDetections]:
    return decode(encode(frames, ChunkFacts()))


def replayed(*chunks: list[FrameDetections], from_us: int = 0) -> Findings:
    replay, everything = Replay(the_plan(), from_us), Findings()
    for chunk in chunks:
        take(everything, replay.feed("a.mp4", stored(chunk)))
    take(everything, replay.finish())
    assert replay.late == 0
    return everything


def take(everything: Findings, some: Findings) -> None:
    everything.alarms += some.alarms
    everything.objects += some.objects
    everything.paths += some.paths
    everything.analysed += some.analysed


def test_a_table_round_trips() -> None:
    """Including frames without detections, and with exact numbers."""
    frames = analysed()
    assert any(len(p.detections) == 0 for p in [*frames, empty()])
    facts = ChunkFacts(decoded=7, looked=3, last_us=5, corrupt=1, core_s=0.5, problem="cut off")
    data = encode([*frames, empty()], facts)
    assert read_facts(data) == facts
    for before, after in zip([*frames, empty()], decode(data), strict=True):
        assert (after.capture_us, after.media_us, after.size) == (
            before.capture_us,
            before.media_us,
            before.size,
        )
        assert after.detections.labels == before.detections.labels
        np.testing.assert_array_equal(after.detections.xyxy, before.detections.xyxy)
        np.testing.assert_array_equal(after.detections.confidence, before.detections.confidence)
    assert list(decode(encode([], facts))) == []


def empty() -> FrameDetections:
    return FrameDetections(START_US + 10**9, 10**9, SIZE, Detections.empty())


@pytest.mark.parametrize("data", [b"", b"PAR1 and then nothing"])
def test_files_that_are_not_tables_are_rejected(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a detection table"):
        read_facts(data)


@pytest.mark.parametrize("size", [1, 7, 50, 199])
def test_the_chunk_size_does_not_change_the_findings(size: int) -> None:
    frames = analysed()
    chunks = [frames[start : start + size] for start in range(0, len(frames), size)]
    assert replayed(*chunks) == replayed(frames)


def test_findings_equal_those_of_a_plain_pipeline_run() -> None:
    """The alarms of a plain run of the pipeline, with source `batch`."""
    pipeline = CameraPipeline(the_plan())
    raised_ids = [
        alarm.id
        for stamp, found in frames(THINGS, SECONDS, noise=0.02)
        for alarm in pipeline.step(stamp, found).alarms
    ]
    found = replayed(analysed())
    assert [raised.alarm.id for raised in found.alarms] == raised_ids
    assert len(raised_ids) >= 3
    assert {raised.alarm.source for raised in found.alarms} == {AlarmSource.BATCH}
    assert {path.source for path in found.paths} == {AlarmSource.BATCH}
    assert {cell.source for cell in found.analysed} == {AlarmSource.BATCH}
    assert sum(len(cell.times) for cell in found.analysed) == len(list(frames(THINGS, SECONDS)))
    for raised in found.alarms:
        assert raised.frame == FrameRef("a.mp4", raised.alarm.capture_us - START_US)


def test_each_object_is_emitted_once() -> None:
    found = replayed(analysed())
    tracks = [seen.sighting.track for seen in found.objects]
    assert len(tracks) == len(set(tracks)) == len(THINGS)


def test_what_ended_before_the_range_is_not_emitted() -> None:
    """Whoever stood there before `from` raises no new alarm."""
    from_us = START_US + 15_000_000
    found, everything = replayed(analysed(), from_us=from_us), replayed(analysed())
    wanted = [r.alarm.id for r in everything.alarms if r.alarm.capture_us >= from_us]
    assert [r.alarm.id for r in found.alarms] == wanted
    assert 0 < len(wanted) < len(everything.alarms)
    assert len(found.objects) == 2  # the standing person and the dog; the walking person has left
    assert all(path.end_us >= from_us for path in found.paths)
    assert found.analysed
    assert all(cell.end_us >= from_us for cell in found.analysed)


def test_overlapping_files_are_analysed_once() -> None:
    replay = Replay(the_plan(), 0)
    frames = analysed()
    first, second = replay.feed("a.mp4", frames[:120]), replay.feed("b.mp4", frames[80:])
    assert replay.late == 40
    assert [r.alarm.id for r in (*first.alarms, *second.alarms)] == [
        r.alarm.id for r in replayed(frames).alarms
    ]


def test_the_first_frame_of_a_file_counts_only_if_it_is_due() -> None:
    """Its worker did not know the previous frame; the replay does."""
    frames = analysed()
    second = [replace_time(frames[1], frames[0].capture_us + 40_000), *frames[1:]]
    replay = Replay(the_plan(), 0)
    replay.feed("a.mp4", frames[:1], first_of_file=True, last_us=frames[0].capture_us)
    replay.feed("b.mp4", second, first_of_file=True)
    whole = Replay(the_plan(), 0)
    whole.feed("a.mp4", frames)
    assert replay.finish().objects == [
        replace_url(seen, "b.mp4") for seen in whole.finish().objects
    ]


def replace_time(frame: FrameDetections, capture_us: int) -> FrameDetections:
    return replace(frame, capture_us=capture_us)


def replace_url(seen: SeenObject, url: str) -> SeenObject:
    frame, box = seen.best
    return replace(seen, best=(replace(frame, url=url), box))
