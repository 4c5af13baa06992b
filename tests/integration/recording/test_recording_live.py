"""A camera on a real gateway becomes files in storage and rows in the database."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import time
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydantic import SecretStr

from cluster.bridge.bridge import Bridge
from cluster.demo.cast import Role
from cluster.demo.footage import composed
from cluster.demo.simulator import DemoCameras
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from pipelines.domain import (
    CameraKey,
    MaskedRecording,
    Recording,
    RecordingMode,
    RecordingState,
    Segment,
)
from tests.factories import make_alarm, make_camera
from tests.integration.bridge.test_bridge_pictures import SMALL
from tests.integration.bridge.world import (
    PATIENCE_S,
    Servers,
    Viewer,
    mjpeg_camera,
    state_of,
    until,
)
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip, encode

GATE = CameraKey("acme", "gate")
ALWAYS = Recording(mode=RecordingMode.CONTINUOUS)
FOR_EVER_US = 2**60


async def segments(database: Database, count: int) -> list[Segment]:
    """The camera's rows, once there are at least `count`."""
    rows: list[Segment] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                rows = await database.recordings("acme").between("gate", 0, FOR_EVER_US, limit=100)
                if len(rows) >= count:
                    return rows
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"only {len(rows)} segments") from None


async def recorded_frames(
    servers: Servers, segment: Segment
) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    """Capture time and I420 data, uint8 (height * 3 / 2 * width,), of every frame of a segment."""
    async with TenantBlobs(servers.settings.blob_url, "acme") as blobs:
        content = await blobs.get(segment.blob)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (segment.size, segment.sha256)
    with av.open(io.BytesIO(content)) as container:
        assert container.streams.video[0].time_base == Fraction(1, 1_000_000)
        return [
            (segment.origin_us + (frame.pts or 0), frame.to_ndarray().reshape(-1))
            for frame in container.decode(video=0)
        ]


async def test_a_live_stream_is_recorded_exact_to_the_frame(
    servers: Servers, bridge: Bridge, database: Database, clip: Clip
) -> None:
    async with (
        RtspCamera(clip).serving() as camera,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        assignment = replace(
            await servers.assignment(GATE, SecretStr(camera.url())), recording=ALWAYS
        )
        await bridge.sync((assignment,))
        rows = await segments(database, 3)
        status = state_of(bridge, GATE).recording
    assert status.state is RecordingState.RECORDING
    assert status.segments >= 3
    assert (status.reason, status.dropped) == ("", {})
    assert all((row.codec, row.width, row.height) == ("h264", 320, 192) for row in rows)
    frames = [frame for row in rows for frame in await recorded_frames(servers, row)]
    captures = [capture_us for capture_us, _ in frames]
    steps = sorted(b - a for a, b in itertools.pairwise(captures))
    assert steps[0] > 0
    assert steps[len(steps) // 2] == pytest.approx(40_000, abs=1_000)
    # No frame is missing between two files.
    assert all(
        0 < after.start_us - row.end_us + 40_000 < 200_000
        for row, after in itertools.pairwise(rows)
    )
    # A frame has the same time in the room and in the recording.
    shown = {frame.capture_us: frame.picture for frame in viewer.shown}
    both = [(pixels, shown[at_us]) for at_us, pixels in frames if at_us in shown]
    assert len(both) > 0.9 * len(captures) - 25
    assert all(np.array_equal(recorded, live) for recorded, live in both)


async def test_a_new_mode_takes_effect_without_reconnecting(
    servers: Servers, bridge: Bridge, database: Database, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as camera:
        assignment = await servers.assignment(GATE, SecretStr(camera.url()))
        await bridge.sync((assignment,))
        await until("live", lambda: state_of(bridge, GATE).main.units > 0)
        assert state_of(bridge, GATE).recording.state is RecordingState.OFF
        await bridge.sync((replace(assignment, recording=ALWAYS),))
        await until(
            "on", lambda: state_of(bridge, GATE).recording.state is RecordingState.RECORDING, 2.0
        )
        await asyncio.sleep(1.0)
        await bridge.sync((assignment,))
        assert state_of(bridge, GATE).recording.state is RecordingState.OFF
        (row,) = await segments(database, 1)
        assert state_of(bridge, GATE).main.reconnects == 0
        assert camera.played == 1
    assert len(await recorded_frames(servers, row)) == row.frames


async def test_b_frames_are_recorded_as_sent_at_the_times_of_the_room(
    servers: Servers, bridge: Bridge, database: Database
) -> None:
    options = {"profile": "high", "b-adapt": "0", "b-pyramid": "none"}
    size = (320, 192)
    clip = encode(options, frames=24, gop=24, size=size, b_frames=2)
    timed = encode(options, frames=24, gop=24, size=size, b_frames=2, container="mp4")
    order = [round((pts - min(timed.pts_s)) * 25) for pts in timed.pts_s]
    assert order != sorted(order)
    async with (
        RtspCamera(clip, presentation=order).serving() as camera,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        assignment = replace(
            await servers.assignment(GATE, SecretStr(camera.url())), recording=ALWAYS
        )
        await bridge.sync((assignment,))
        rows = await segments(database, 3)
        status = state_of(bridge, GATE)
    assert status.main.transcoded
    assert status.recording.dropped == {}
    await assert_as_sent(servers, rows, viewer, "h264")
    # Nothing was re-encoded: the frames are identical.
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for packet in clip.packets for frame in decoder.decode(av.Packet(packet))]
    sent = {frame.to_ndarray().tobytes() for frame in [*frames, *decoder.decode(None)]}
    recorded = [pixels.tobytes() for _, pixels in await recorded_frames(servers, rows[1])]
    assert set(recorded) <= sent


async def test_h265_is_recorded_as_sent_at_the_times_of_the_room(
    servers: Servers, bridge: Bridge, database: Database
) -> None:
    role = Role("acme", "gate", "Gate", (), lambda: composed(SMALL, (320, 192), "h265"), SMALL)
    cameras = DemoCameras(servers.settings, roles=(role,))
    try:
        (camera,) = await cameras.start()
        async with Viewer(servers.settings.livekit, GATE) as viewer:
            assignment = replace(await servers.assignment(GATE, camera.url), recording=ALWAYS)
            await bridge.sync((assignment,))
            rows = await segments(database, 3)
            status = state_of(bridge, GATE)
    finally:
        await cameras.aclose()
    assert status.main.transcoded
    assert status.recording.dropped == {}
    await assert_as_sent(servers, rows, viewer, "hevc")


async def assert_as_sent(servers: Servers, rows: list[Segment], viewer: Viewer, codec: str) -> None:
    """Files have the camera's own codec, and each frame has the same time as in the room."""
    assert {row.codec for row in rows} == {codec}
    frames = [frame for row in rows for frame in await recorded_frames(servers, row)]
    captures = [capture_us for capture_us, _ in frames]
    assert captures == sorted(captures)
    assert sum(row.frames for row in rows) == len(frames)
    # All frames of the room are there at their microseconds, and equal except for the room's
    # encoding.
    live = {shown.capture_us: shown.picture for shown in viewer.shown}
    inside = [at_us for at_us in live if captures[0] <= at_us <= captures[-1]]
    assert len(inside) > 50
    recorded = dict(frames)
    assert set(inside) <= set(recorded)
    differences = [
        np.abs(live[at_us].astype(np.int16) - recorded[at_us].astype(np.int16)).mean()
        for at_us in inside
    ]
    assert max(differences) < 3


async def test_mjpeg_is_recorded_as_its_transcode(
    servers: Servers, bridge: Bridge, database: Database
) -> None:
    image = io.BytesIO()
    Image.fromarray(np.full((192, 320, 3), 90, np.uint8)).save(image, "JPEG")
    async with mjpeg_camera([image.getvalue()]) as url:
        assignment = replace(await servers.assignment(GATE, SecretStr(url)), recording=ALWAYS)
        await bridge.sync((assignment,))
        rows = await segments(database, 1)
    assert [(row.codec, row.width, row.height) for row in rows] == [("h264", 320, 192)]
    assert len(await recorded_frames(servers, rows[0])) == rows[0].frames


async def test_a_masked_camera_is_recorded_masked_or_not_at_all(
    servers: Servers, bridge: Bridge, database: Database, clip: Clip
) -> None:
    """And what is recorded is what the room got, to the bit, so that a job sees what the watcher
    saw."""
    top = (((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5)),)
    async with (
        RtspCamera(clip).serving() as camera,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        assignment = replace(
            await servers.assignment(GATE, SecretStr(camera.url())), recording=ALWAYS, masks=top
        )
        off = ALWAYS.model_copy(update={"masked": MaskedRecording.OFF})
        await bridge.sync((replace(assignment, recording=off),))
        await until("live", lambda: state_of(bridge, GATE).main.units > 25)
        status = state_of(bridge, GATE).recording
        assert status.state is RecordingState.OFF
        assert "masks" in status.reason
        await bridge.sync((assignment,))
        rows = await segments(database, 2)
    assert all(row.masked for row in rows)
    frames = [frame for row in rows for frame in await recorded_frames(servers, row)]
    for _, pixels in frames:
        luma = pixels[: 320 * 192].reshape(192, 320)
        assert luma[:96].max() <= 24
        assert luma[110:].mean() > 30
    shown = {frame.capture_us: frame.picture for frame in viewer.shown}
    both = [(pixels, shown[at_us]) for at_us, pixels in frames if at_us in shown]
    assert len(both) > len(frames) / 2
    assert all(np.array_equal(recorded, live) for recorded, live in both)


async def test_only_segments_around_an_alarm_are_kept(
    servers: Servers, bridge: Bridge, database: Database, clip: Clip
) -> None:
    around = Recording(pre_roll_s=1, post_roll_s=1)
    records = database.tenant("acme")
    await records.add_camera(make_camera())
    async with RtspCamera(clip).serving() as camera:
        assignment = replace(
            await servers.assignment(GATE, SecretStr(camera.url())), recording=around
        )
        await bridge.sync((assignment,))
        await until("two files", lambda: state_of(bridge, GATE).recording.segments >= 2)
        alarm_us = time.time_ns() // 1_000
        await records.record_alarms([make_alarm(stages={"capture_us": alarm_us})])
        await until("five more", lambda: state_of(bridge, GATE).recording.segments >= 7)
        # The previous segment may still wait for its verdict. The alarm's own is stored.
        await asyncio.sleep(2.0)
        rows = await segments(database, 1)
    assert rows[0].start_us <= alarm_us - 1_000_000
    assert rows[-1].end_us >= alarm_us + 1_000_000
    assert all(row.end_us >= alarm_us - 1_000_000 for row in rows)
    assert all(row.start_us <= alarm_us + 1_000_000 for row in rows)
    # The other segments were dropped from the disk too.
    await bridge.aclose()
    left = list(servers.settings.recording_spool.glob("*/*/*/*"))
    assert all(int(path.name.split(".")[0]) > alarm_us for path in left)


async def test_a_disk_error_is_reported_and_does_not_affect_the_room(
    servers: Servers, bridge: Bridge, database: Database, clip: Clip
) -> None:
    outbox = servers.settings.recording_spool
    outbox.write_text("no folder can be made here")
    async with (
        RtspCamera(clip).serving() as camera,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        assignment = replace(
            await servers.assignment(GATE, SecretStr(camera.url())), recording=ALWAYS
        )
        await bridge.sync((assignment,))
        await viewer.frames(25)
        status = state_of(bridge, GATE).recording
        assert status.state is RecordingState.FAILING
        assert "outbox" in status.reason
        outbox.unlink()
        await bridge.sync((assignment,))  # as the controller does every two seconds
        await segments(database, 1)
        assert state_of(bridge, GATE).recording.state is RecordingState.RECORDING
        assert state_of(bridge, GATE).main.reconnects == 0
