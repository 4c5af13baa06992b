"""A camera on a real gateway becomes files in the storage and rows in the records."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
from pydantic import SecretStr

from cluster.blobs import TenantBlobs
from cluster.bridge.bridge import Bridge
from cluster.recording.status import RecordingState
from cluster.records import Database
from pipelines.domain import CameraKey, Recording, RecordingMode, Segment
from tests.integration.bridge.world import PATIENCE_S, Servers, Viewer, state_of, until
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip

GATE = CameraKey("acme", "gate")
ALWAYS = Recording(mode=RecordingMode.CONTINUOUS)
FOR_EVER_US = 2**60


async def segments(database: Database, count: int) -> list[Segment]:
    """The first rows of the camera, as soon as there are that many."""
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


async def pictures(servers: Servers, segment: Segment) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    """Capture time and I420 picture of every frame in the stored file."""
    async with TenantBlobs(servers.settings.blob_url, "acme") as blobs:
        content = await blobs.get(segment.blob)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (segment.size, segment.sha256)
    with av.open(io.BytesIO(content)) as container:
        assert container.streams.video[0].time_base == Fraction(1, 1_000_000)
        return [
            (segment.origin_us + (frame.pts or 0), frame.to_ndarray().reshape(-1))
            for frame in container.decode(video=0)
        ]


async def test_what_passes_is_recorded_exact_to_the_frame(
    servers: Servers, bridge: Bridge, database: Database, clip: Clip
) -> None:
    async with (
        RtspCamera(clip).serving() as camera,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        cargo = replace(await servers.cargo(GATE, SecretStr(camera.url())), recording=ALWAYS)
        await bridge.sync((cargo,))
        rows = await segments(database, 3)
        status = state_of(bridge, GATE).recording
    assert status.state is RecordingState.RECORDING
    assert status.segments >= 3
    assert (status.reason, status.dropped) == ("", {})
    assert all((row.codec, row.width, row.height) == ("h264", 320, 192) for row in rows)
    frames = [frame for row in rows for frame in await pictures(servers, row)]
    captures = [capture_us for capture_us, _ in frames]
    assert all(20_000 < b - a < 60_000 for a, b in itertools.pairwise(captures))
    for row, after in itertools.pairwise(rows):
        assert row.end_us == pytest.approx(after.start_us, abs=20_000)
    # The room and the recording tell the same time of the same picture.
    shown = {frame.capture_us: frame.picture for frame in viewer.shown}
    both = [(picture, shown[at_us]) for at_us, picture in frames if at_us in shown]
    assert len(both) > 0.9 * len(captures) - 25
    assert all(np.array_equal(recorded, live) for recorded, live in both)


async def test_a_new_mode_takes_effect_without_a_new_pull(
    servers: Servers, bridge: Bridge, database: Database, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as camera:
        cargo = await servers.cargo(GATE, SecretStr(camera.url()))
        await bridge.sync((cargo,))
        await until("live", lambda: state_of(bridge, GATE).main.units > 0)
        assert state_of(bridge, GATE).recording.state is RecordingState.OFF
        await bridge.sync((replace(cargo, recording=ALWAYS),))
        await until(
            "on", lambda: state_of(bridge, GATE).recording.state is RecordingState.RECORDING, 2.0
        )
        await asyncio.sleep(1.0)
        await bridge.sync((cargo,))
        assert state_of(bridge, GATE).recording.state is RecordingState.OFF
        (row,) = await segments(database, 1)
        assert state_of(bridge, GATE).main.reconnects == 0
        assert camera.played == 1
    assert len(await pictures(servers, row)) == row.frames
