"""What a mask covers is in no frame of the room that everybody may enter, whatever changes."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from pydantic import SecretStr

from cluster.bridge.bridge import Bridge
from cluster.bridge.masked import NOT_DECODED
from cluster.bridge.units import BridgeCamera, StreamPhase
from cluster.media.h264 import START_CODE, NalType, iter_nal_units, nal_type
from pipelines.domain import CameraKey, Polygon
from tests.integration.bridge.world import Servers, Shown, Viewer, state_of, until
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip, demux

GATE = CameraKey("acme", "gate")
SIZE = (320, 192)
RED, BLUE, GREY = (220, 20, 30), (20, 30, 220), (120, 120, 120)
LEFT: Polygon = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
RIGHT: Polygon = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
STRONG = 160
"""Chroma of a coloured pixel after two lossy encodings; without colour it is 128."""


@pytest.fixture(scope="module")
def coloured() -> Clip:
    """One second: red at the left, blue at the right, and a grey bar that moves between."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="h264") as output:
        video = output.add_stream("libx264", rate=25, options={"profile": "high"})
        video.width, video.height, video.pix_fmt, video.gop_size = *SIZE, "yuv420p", 25
        video.codec_context.max_b_frames = 0
        for n in range(25):
            pixels = np.full((SIZE[1], SIZE[0], 3), GREY, np.uint8)
            pixels[30:160, 20:120], pixels[30:160, 200:300] = RED, BLUE
            pixels[4 * n : 4 * n + 20] = GREY
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return demux(io.BytesIO(buffer.getvalue()))


def chroma(shown: Shown) -> tuple[int, int]:
    """How red and how blue the strongest pixel of a frame is."""
    width, height = shown.size
    planes = shown.picture[width * height :].reshape(2, height // 2, width // 2)
    return int(planes[1].max()), int(planes[0].max())


def has_red(shown: Shown) -> bool:
    return chroma(shown)[0] > STRONG


def has_blue(shown: Shown) -> bool:
    return chroma(shown)[1] > STRONG


class Masking:
    """Changes the masks of a bridge's camera, as the controller does.

    Attributes:
        changes: the masks, each with the time from which on they hold, UTC microseconds.
    """

    def __init__(self, bridge: Bridge, camera: BridgeCamera) -> None:
        self.changes: list[tuple[int, tuple[Polygon, ...]]] = []
        self._bridge = bridge
        self._camera = camera

    async def to(self, *masks: Polygon, version: str = "1") -> int:
        """Returns the time from which on the masks hold."""
        await self._bridge.sync((replace(self._camera, masks=masks, version=version),))
        self.changes.append((time.time_ns() // 1_000, masks))
        return self.changes[-1][0]

    def allowed(self, captured_us: int) -> list[tuple[Polygon, ...]]:
        """What may be painted into a frame: the masks of the time when it was captured, or the
        next ones, if these came while it was on its way."""
        since = [at_us < captured_us for at_us, _ in self.changes].count(True)
        return [masks for _, masks in self.changes[max(0, since - 1) : since + 1]]


async def shows(viewer: Viewer, since_us: int, what: Callable[[Shown], bool]) -> None:
    """Wait until the viewer got ten frames like that which were captured after a time."""
    await until(
        "frames",
        lambda: sum(shown.capture_us > since_us and what(shown) for shown in viewer.shown) >= 10,
    )


async def test_only_the_unmasked_room_shows_what_a_mask_covers(
    servers: Servers, bridge: Bridge, coloured: Clip
) -> None:
    """And both rooms show the same frames at the same times."""
    livekit = servers.settings.livekit
    async with servers.scene(GATE, RtspCamera(coloured)) as (assignment, viewer):
        masking = Masking(bridge, assignment)
        await masking.to(LEFT)
        await viewer.frames(25)
        main = state_of(bridge, GATE).main
        assert (main.codec, main.transcoded) == ("h264", True)
        assert "masks" in main.reason
        async with Viewer(livekit, GATE, room=GATE.unmasked_room) as admin:
            await admin.frames(40)
            last = admin.shown[-1].capture_us
            await until("those frames", lambda: viewer.shown[-1].capture_us > last)
        assert state_of(bridge, GATE).main.reconnects == 0
    assert not any(has_red(shown) for shown in viewer.shown)
    assert all(has_blue(shown) for shown in viewer.shown)
    assert all(has_red(shown) and has_blue(shown) for shown in admin.shown)
    masked = {shown.frame_id: shown.capture_us for shown in viewer.shown}
    both = [shown for shown in admin.shown if shown.frame_id in masked]
    assert len(both) >= 20
    assert all(shown.capture_us == masked[shown.frame_id] for shown in both)


async def test_no_frame_has_other_masks_once_they_changed(
    servers: Servers, bridge: Bridge, coloured: Clip
) -> None:
    """A viewer stays in the room while masks come, move, go and come back; and so does the room."""
    async with servers.scene(GATE, RtspCamera(coloured)) as (assignment, viewer):
        masking = Masking(bridge, assignment)
        begun_us = await masking.to()
        await shows(viewer, begun_us, lambda shown: has_red(shown) and has_blue(shown))
        first_us = await masking.to(LEFT)
        await shows(viewer, first_us, has_blue)
        moved_us = await masking.to(RIGHT)
        await shows(viewer, moved_us, has_red)
        both_us = await masking.to(LEFT, RIGHT)
        await shows(viewer, both_us, lambda shown: not has_red(shown))
        gone_us = await masking.to()
        await shows(viewer, gone_us, lambda shown: has_red(shown) and has_blue(shown))
        assert not state_of(bridge, GATE).main.transcoded
        await servers.eventually(
            "empty", lambda: servers.identities(CameraKey("acme", "gate.unmasked")), set()
        )
        again_us = await masking.to(LEFT)
        await shows(viewer, again_us, has_blue)
        assert state_of(bridge, GATE).main.transcoded

    for shown in viewer.shown:
        painted = (LEFT,) * (not has_red(shown)) + (RIGHT,) * (not has_blue(shown))
        assert painted in masking.allowed(shown.capture_us)
    assert all(a.capture_us < b.capture_us for a, b in itertools.pairwise(viewer.shown))


async def test_masks_that_come_with_another_address_hold_at_once(
    servers: Servers, bridge: Bridge, coloured: Clip
) -> None:
    """What pulled the old address is still closing then."""
    async with servers.scene(GATE, RtspCamera(coloured)) as (assignment, viewer):
        masking = Masking(bridge, assignment)
        begun_us = await masking.to(LEFT)
        await shows(viewer, begun_us, has_blue)
        moved_us = await masking.to(RIGHT, version="2")
        await shows(viewer, moved_us, has_red)
    assert not any(has_red(s) and has_blue(s) for s in viewer.shown)
    assert not any(has_blue(s) for s in viewer.shown if s.capture_us > moved_us)


async def test_the_sub_stream_is_masked_too(
    servers: Servers, bridge: Bridge, clip: Clip, coloured: Clip
) -> None:
    async with (
        RtspCamera(clip).serving() as camera,
        RtspCamera(coloured).serving() as sub,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        assignment = await servers.assignment(GATE, SecretStr(camera.url()), SecretStr(sub.url()))
        await bridge.sync((replace(assignment, masks=(LEFT,)),))
        detect = await viewer.frames(25, "detect")
        status = state_of(bridge, GATE)
        assert status.detect is not None
        assert status.detect.transcoded
    assert not any(has_red(shown) for shown in detect)
    assert all(has_blue(shown) for shown in detect)


def undecodable(unit: bytes) -> bytes:
    """The access unit with its parameter sets, and slices that no decoder can read."""
    sets = (NalType.SPS, NalType.PPS)
    return b"".join(
        START_CODE + (nal if nal_type(nal) in sets else nal[:1] + b"\xff" * 50)
        for nal in iter_nal_units(unit)
    )


async def test_video_that_cannot_be_masked_is_shown_to_nobody(
    servers: Servers, bridge: Bridge, coloured: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the state says why. Without masks the same camera is passed on."""
    monkeypatch.setattr("cluster.bridge.masked.PATIENCE_S", 2.0)
    broken = replace(coloured, packets=[undecodable(unit) for unit in coloured.packets])
    async with servers.scene(GATE, RtspCamera(broken)) as (assignment, viewer):
        masking = Masking(bridge, assignment)
        await masking.to(LEFT)
        await until("failed", lambda: state_of(bridge, GATE).main.phase is StreamPhase.FAILED)
        main = state_of(bridge, GATE).main
        assert main.reason == NOT_DECODED
        assert main.units == 0
        await masking.to()
        await until("passed on", lambda: state_of(bridge, GATE).main.units > 10)
    assert viewer.shown == []
