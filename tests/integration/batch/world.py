"""Helpers of the job tests: run a job, read its results, record a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from cluster.batch.job import Job
from cluster.batch.request import Request, Summary
from cluster.core.settings import Settings
from cluster.demo.cast import CAST
from cluster.demo.expected import expected_alarms
from cluster.demo.scene import GroundTruth
from cluster.recording.segment import SegmentWriter, VideoFormat, VideoUnit
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import AlarmQuery, AlarmRecord, Database, ObjectQuery
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey, Segment
from pipelines.sampling import grid_phase

GATE = CAST[0]
SIZE = (640, 360)
START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""
FOREVER_US = 2**60

EARLY_S, LATE_S = 0.4, 0.8
"""A detector sees a figure enter some frames before or after the script says so; the same
tolerance as in the test of the demo's footage."""


def frames_to_analyse(*files: int) -> int:
    """Number of analysed frames among the video's 750, which are 40 ms apart: the first in each
    200 ms period of acme's gate, and the first of each file, whose worker knows no earlier frame.

    Args:
        files: capture times at which files begin, UTC microseconds.
    """
    border_us = round(grid_phase(CameraKey("acme", "gate")) * 200_000)
    first: dict[int, int] = {}
    for at_us in (START_US + number * 40_000 for number in range(750)):
        first.setdefault((at_us - border_us) // 200_000, at_us)
    return len({*first.values(), *files})


async def run(settings: Settings, **fields: Any) -> Summary:
    request = Request(tenant="acme", camera="gate", **fields)
    return await Job(settings, request, SystemClock()).run()


async def recorded(database: Database, tenant: str = "acme") -> list[AlarmRecord]:
    """Alarms, oldest first."""
    page = await database.tenant(tenant).alarms(AlarmQuery(limit=500))
    return page.items[::-1]


async def rows(database: Database) -> dict[str, Any]:
    """All that a job writes to the database, except for the times of writing."""
    tracks = database.tracks("acme")
    objects = (await tracks.objects(ObjectQuery(limit=500))).items
    return {
        "alarms": [record.alarm for record in await recorded(database)],
        "objects": [record.model_dump(exclude={"recorded_us"}) for record in objects],
        "paths": await tracks.paths("gate", 0, FOREVER_US),
    }


def assert_as_scripted(alarms: list[AlarmRecord], truth: GroundTruth) -> None:
    expected = sorted((e.rule, e.at_s) for e in expected_alarms(truth, GATE.rules))
    found = sorted((r.alarm.rule, (r.alarm.capture_us - START_US) / 1e6) for r in alarms)
    assert [rule for rule, _ in found] == [rule for rule, _ in expected]
    for (rule, at_s), (_, wanted_s) in zip(found, expected, strict=True):
        assert -EARLY_S <= at_s - wanted_s <= LATE_S, f"{rule} at {at_s}, not {wanted_s}"


async def record(
    video: Path, settings: Settings, database: Database, folder: Path, seconds: float
) -> list[Segment]:
    """The video as the recorder would have stored it: segments that end at key frames."""
    segments: list[Segment] = []
    async with TenantBlobs(settings.blob_url, "acme") as blobs:
        for number, units in enumerate(_segments(video, round(seconds * 1e6))):
            writer = SegmentWriter(folder / f"{number}.mp4", VideoFormat("h264", *SIZE))
            for unit in units:
                writer.write(unit)
            file = writer.close()
            assert file is not None
            key = f"recordings/gate/{file.start_us}.mp4"
            await blobs.put(key, file.path.read_bytes())
            segment = Segment(
                camera="gate",
                start_us=file.start_us,
                end_us=file.end_us,
                origin_us=file.origin_us,
                codec="h264",
                width=SIZE[0],
                height=SIZE[1],
                frames=file.frames,
                size=file.size,
                sha256=file.sha256,
                blob=key,
            )
            await database.recordings("acme").add(segment)
            segments.append(segment)
    return segments


def _segments(video: Path, length_us: int) -> list[list[VideoUnit]]:
    """Access units of the video, split at the first key frame after each `length_us`."""
    found: list[list[VideoUnit]] = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            at_us = START_US + round(packet.pts * packet.time_base * 1_000_000)
            key_frame = packet.is_keyframe
            data = b"".join(bytes(out) for out in annex_b.filter(packet))
            unit = VideoUnit(data, key_frame, at_us, at_us)
            if not found or (key_frame and at_us - found[-1][0].capture_us >= length_us):
                found.append([])
            found[-1].append(unit)
    return found
