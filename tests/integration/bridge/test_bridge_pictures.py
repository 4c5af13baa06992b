"""What comes out of the room is what the camera sent."""

from __future__ import annotations

import io
import itertools

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from cluster.bridge.bridge import Bridge
from cluster.bridge.units import StreamPhase
from cluster.demo.backdrops import Backdrop
from cluster.demo.cast import Role
from cluster.demo.cutouts import Figure
from cluster.demo.footage import composed
from cluster.demo.scene import Actor, Scene, Waypoint
from cluster.demo.simulator import DemoCameras
from pipelines.domain import CameraKey
from tests.integration.bridge.world import (
    Servers,
    Shown,
    Viewer,
    delivered,
    mjpeg_camera,
    state_of,
    streaming,
    until,
)
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip, encode

# Bit for bit, or nearly all of the frames, so the decoder may not be late: with the machine to
# itself. The two tests without it ask neither.
quiet = pytest.mark.quiet

GATE = CameraKey("acme", "gate")
WATCHED_FRAMES = 200
"""Eight seconds of a camera with 25 frames/s."""
LEAST_DELIVERED = 0.9
"""Decoders drop what comes late: 0.97 to 1.0 arrive on a free machine, 0.94 on a crowded one."""
MAX_AGE_US = 1_000_000


def pictures_of(clip: Clip) -> set[bytes]:
    """What a decoder makes of the clip: I420 bytes of each frame."""
    decoder = av.CodecContext.create("h264", "r")
    frames = [f for au in clip.packets for f in decoder.decode(av.Packet(au))]
    frames += decoder.decode(None)
    return {frame.to_ndarray(format="yuv420p").tobytes() for frame in frames}


def assert_well_timed(shown: list[Shown]) -> None:
    captures = [frame.capture_us for frame in shown]
    assert all(a < b for a, b in itertools.pairwise(captures))
    # The least delayed frame tells: any other may have waited for this busy machine.
    age_us = min(frame.now_us - frame.capture_us for frame in shown)
    assert 0 <= age_us < MAX_AGE_US


@quiet
async def test_h264_passes_unchanged(servers: Servers, bridge: Bridge, clip: Clip) -> None:
    """Nearly every frame arrives, with its time, bit for bit as a decoder makes it of the camera's
    own stream: H.264 decoding is exact, so one bit changed on the way would show."""
    async with servers.scene(GATE, RtspCamera(clip)) as (assignment, viewer):
        await bridge.sync((assignment,))
        shown = await viewer.frames(WATCHED_FRAMES)
        status = state_of(bridge, GATE)
        assert status.in_room
        assert status.main.phase is StreamPhase.STREAMING
        assert (status.main.codec, status.main.transcoded) == ("h264", False)
        assert status.main.reason == ""
        assert (status.main.width, status.main.height) == (320, 192)
        assert status.main.fps == pytest.approx(25, rel=0.1)
        # The first ones come before LiveKit's encoder is ready, and what follows refers to them.
        assert status.main.dropped.keys() <= {"lost_by_sdk", "before_key_frame"}
    assert delivered(shown) >= LEAST_DELIVERED
    assert_well_timed(shown)
    assert {frame.size for frame in shown} == {(320, 192)}
    assert {frame.picture.tobytes() for frame in shown} <= pictures_of(clip)


@quiet
async def test_what_comes_too_late_and_all_at_once_damages_no_picture(
    servers: Servers, bridge: Bridge, clip: Clip
) -> None:
    """The network of a camera stands still for half a second, again and again. Without a pause
    between them LiveKit's SDK loses most of the frames that come then, and receivers decode the
    rest without what they refer to."""
    camera = RtspCamera(clip)
    async with servers.scene(GATE, camera) as (assignment, viewer):
        await bridge.sync((assignment,))
        await viewer.frames(25)
        for _ in range(5):
            camera.late = 12
            await until("sent", lambda: not camera.late)
            await viewer.frames(len(viewer.shown) + 30)
    assert {frame.picture.tobytes() for frame in viewer.shown} <= pictures_of(clip)


@quiet
async def test_b_frames_are_transcoded_and_the_status_says_why(
    servers: Servers, bridge: Bridge
) -> None:
    options = {"profile": "high", "b-adapt": "0", "b-pyramid": "none"}
    size = (320, 192)
    clip = encode(options, frames=24, gop=24, size=size, b_frames=2)
    timed = encode(options, frames=24, gop=24, size=size, b_frames=2, container="mp4")
    assert timed.reorder_depth > 0
    order = [round((pts - min(timed.pts_s)) * 25) for pts in timed.pts_s]
    async with servers.scene(GATE, RtspCamera(clip, presentation=order)) as (assignment, viewer):
        await bridge.sync((assignment,))
        shown = await viewer.frames(75)
        main = state_of(bridge, GATE).main
    assert (main.codec, main.transcoded) == ("h264", True)
    assert "B-frames" in main.reason
    assert delivered(shown) >= LEAST_DELIVERED
    assert_well_timed(shown)
    assert {frame.size for frame in shown} == {size}


SMALL = Scene(
    "small",
    Backdrop.YARD,
    duration_s=2.0,
    actors=(Actor("bus", Figure.BUS, 0.5, (Waypoint(0.2, 0.1, 0.8), Waypoint(1.8, 0.9, 0.8))),),
)


@quiet
async def test_h265_is_transcoded_and_the_status_says_why(servers: Servers, bridge: Bridge) -> None:
    role = Role("acme", "gate", "Gate", (), lambda: composed(SMALL, (320, 192), "h265"), SMALL)
    cameras = DemoCameras(servers.settings, roles=(role,))
    try:
        (camera,) = await cameras.start()
        async with Viewer(servers.settings.livekit, GATE) as viewer:
            await bridge.sync((await servers.assignment(GATE, camera.url),))
            shown = await viewer.frames(75)
            main = state_of(bridge, GATE).main
    finally:
        await cameras.aclose()
    assert (main.codec, main.transcoded) == ("hevc", True)
    assert "hevc" in main.reason
    assert delivered(shown) >= LEAST_DELIVERED
    assert_well_timed(shown)
    assert {frame.size for frame in shown} == {(320, 192)}


async def test_mjpeg_is_transcoded(servers: Servers, bridge: Bridge) -> None:
    pictures = []
    for n in range(10):
        pixels = np.full((192, 320, 3), 60, np.uint8)
        pixels[:, n * 30 : n * 30 + 20] = (220, 40, 40)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    async with (
        mjpeg_camera(pictures) as url,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        await bridge.sync((await servers.assignment(GATE, SecretStr(url)),))
        shown = await viewer.frames(30)
        main = state_of(bridge, GATE).main
    assert (main.codec, main.transcoded) == ("mjpeg", True)
    assert "mjpeg" in main.reason
    assert_well_timed(shown)
    assert {frame.size for frame in shown} == {(320, 192)}


@quiet
async def test_another_size_in_the_middle_of_the_stream_is_followed(
    servers: Servers, bridge: Bridge, clip: Clip, night_clip: Clip
) -> None:
    """A camera that changes to its night profile, in one and the same connection."""
    camera = RtspCamera(clip, in_band=True)
    async with servers.scene(GATE, camera) as (assignment, viewer):
        await bridge.sync((assignment,))
        await viewer.frames(25)
        camera.next_clip = night_clip
        await until("night", lambda: viewer.shown[-1].size == (256, 256))
        before = len(viewer.shown)
        await viewer.frames(before + 25)
        main = state_of(bridge, GATE).main
        assert (main.width, main.height) == (256, 256)
        assert main.reconnects == 0
        assert not main.transcoded
        # One picture at a time: the track of the old size is gone.
        publications = viewer.room.remote_participants["camera"].track_publications
        assert [pub.name for pub in publications.values()] == ["main"]
        camera.next_clip = clip
        await until("day", lambda: viewer.shown[-1].size == (320, 192))
    captures = [frame.capture_us for frame in viewer.shown]
    assert captures == sorted(captures)
    seen = {frame.picture.tobytes() for frame in viewer.shown}
    assert seen <= pictures_of(clip) | pictures_of(night_clip)


@quiet
async def test_another_size_after_a_break_is_followed(
    servers: Servers, bridge: Bridge, clip: Clip, night_clip: Clip
) -> None:
    """A camera that restarts with another profile, which it tells in the SDP alone, while the
    gateway holds the connection to us and splices old and new together."""
    camera = RtspCamera(clip)
    async with servers.scene(GATE, camera) as (assignment, viewer):
        await bridge.sync((assignment,))
        await viewer.frames(25)
        camera.clip = night_clip
        await camera.drop_all()
        await until("night", lambda: viewer.shown[-1].size == (256, 256))
        before = len(viewer.shown)
        await viewer.frames(before + 25)
        main = state_of(bridge, GATE).main
        assert (main.width, main.height) == (256, 256)
    night = {frame.picture.tobytes() for frame in viewer.shown[before:]}
    assert night <= pictures_of(night_clip)


async def test_a_sub_stream_is_a_second_track(
    servers: Servers, bridge: Bridge, clip: Clip, night_clip: Clip
) -> None:
    async with (
        RtspCamera(clip).serving() as camera,
        RtspCamera(night_clip).serving() as sub,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        assignment = await servers.assignment(GATE, SecretStr(camera.url()), SecretStr(sub.url()))
        await bridge.sync((assignment,))
        main = await viewer.frames(25, "main")
        detect = await viewer.frames(25, "detect")
        status = state_of(bridge, GATE)
        assert status.detect is not None
        assert (status.detect.width, status.detect.height) == (256, 256)
        # The sub-stream breaks alone.
        await sub.drop_all()
        count = len(viewer.of("main"))
        await viewer.frames(count + 25, "main")
        again = len(viewer.of("detect"))
        await viewer.frames(again + 25, "detect")
        assert state_of(bridge, GATE).main.reconnects == 0
    assert {frame.size for frame in main} == {(320, 192)}
    assert {frame.size for frame in detect} == {(256, 256)}


@quiet
async def test_streams_wait_for_each_other_in_no_way(
    servers: Servers, bridge: Bridge, clip: Clip
) -> None:
    """A camera that cannot be read fails with a reason, and nobody else notices."""
    wrong = CameraKey("acme", "wrong")
    async with (
        RtspCamera(clip).serving() as camera,
        Viewer(servers.settings.livekit, GATE) as viewer,
    ):
        nowhere = SecretStr("rtsp://user:s3cret@127.0.0.1:9/none")
        await bridge.sync(
            (
                await servers.assignment(wrong, nowhere),
                await servers.assignment(GATE, SecretStr(camera.url())),
            )
        )
        await until("failed", lambda: state_of(bridge, wrong).main.phase is StreamPhase.FAILED)
        await until("live", lambda: streaming(bridge, GATE))
        shown = await viewer.frames(50)
        failed = state_of(bridge, wrong).main
        assert failed.reason
        assert "s3cret" not in failed.reason
        assert state_of(bridge, GATE).main.reconnects == 0
    assert delivered(shown) >= LEAST_DELIVERED
