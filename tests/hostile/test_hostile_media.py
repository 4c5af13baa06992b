"""Cameras that send badly: times, parameter sets, tracks and codecs, up to the bridge's pump.

Each ends as a stream that plays, or with a reason that names the mend.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager

import psutil
import pytest
from pydantic import SecretStr

from cluster.bridge.pump import StreamPump
from cluster.bridge.room import TrackSink
from cluster.bridge.units import StreamPhase, StreamStatus
from cluster.bridge.waiting import NO_KEY_FRAME, NO_PARAMETER_SETS, UNDECODABLE
from cluster.core.backoff import Backoff
from cluster.core.settings import BridgeSettings
from cluster.media.errors import CameraProblem
from pipelines.clock import SystemClock
from tests.hostile.camera import TICKS, HostileCamera
from tests.hostile.world import PATIENCE_S, Relay, read
from tests.unit.cluster.media.clips import Clip, encode

HOUR = 3600 * 90_000


class FastClock(SystemClock):
    """Its seconds are a tenth as long, so that what is said after some is said soon."""

    def monotonic(self) -> float:
        return super().monotonic() * 10


def _track(_sink: TrackSink, _size: tuple[int, int]) -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done


@asynccontextmanager
async def pumped(url: SecretStr) -> AsyncIterator[StreamPump]:
    """The bridge's pump on a stream, without a room."""
    pump = StreamPump(
        "acme.gate/main",
        url,
        TrackSink("main"),
        _track,
        settings=BridgeSettings(read_timeout_s=5.0),
        clock=FastClock(),
        backoff=Backoff(0.05, 0.2),
    )
    pump.start()
    try:
        yield pump
    finally:
        pump.request_stop()
        assert await asyncio.to_thread(pump.join, PATIENCE_S)


async def until(pump: StreamPump, holds: Callable[[StreamStatus], bool]) -> StreamStatus:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not holds(pump.status()):  # noqa: ASYNC110 -- a thread changes it
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(pump.status()) from None
    return pump.status()


def plays(status: StreamStatus, units: int = 60) -> bool:
    return status.phase is StreamPhase.STREAMING and status.units >= units


@pytest.mark.parametrize(
    "ticks",
    [
        pytest.param(lambda n: n * TICKS + (n // 20) * 5 * HOUR, id="hours ahead"),
        pytest.param(lambda n: n * TICKS - (n // 20) * 2 * HOUR, id="hours back"),
        pytest.param(lambda n: (n - n % 3) * TICKS, id="repeated"),
        pytest.param(lambda n: n % 25 * TICKS, id="begin anew each second"),
        pytest.param(lambda n: 0, id="none"),
        pytest.param(lambda n: (2**32 - 30 * TICKS) + n * TICKS, id="wrap"),
    ],
)
async def test_times_that_cannot_be_still_play_and_never_run_back(
    relay: Relay, clip: Clip, ticks: Callable[[int], int]
) -> None:
    async with HostileCamera(clip, ticks=ticks).serving() as camera:
        async with pumped(relay.url(camera.url())) as pump:
            captures = []
            for units in (20, 40, 60):
                status = await until(pump, lambda s, n=units: plays(s, n))  # type: ignore[misc]
                captures.append(status.last_capture_us)
            assert captures == sorted(captures)
            # Capture times stay near now, whatever the camera's own times say.
            assert abs(captures[-1] - SystemClock().now_us()) < 60_000_000


@pytest.mark.parametrize("in_sdp", [True, False])
async def test_parameter_sets_in_one_place_are_enough(
    relay: Relay, clip: Clip, in_sdp: bool
) -> None:
    camera = HostileCamera(clip, sets_in_sdp=in_sdp, sets_in_band=not in_sdp)
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, plays)
        assert (status.width, status.height, status.reason) == (160, 96, "")


@pytest.mark.long
async def test_parameter_sets_nowhere_are_said(relay: Relay, clip: Clip) -> None:
    camera = HostileCamera(clip, sets_in_sdp=False)
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, lambda s: bool(s.reason))
        assert status.reason == NO_PARAMETER_SETS
        camera.sets_in_band = True
        await until(pump, plays)


async def test_a_key_frame_that_is_long_in_coming_is_said(relay: Relay, clip: Clip) -> None:
    come = threading.Event()
    camera = HostileCamera(clip, sends=lambda n: n % 25 != 0 or come.is_set())
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, lambda s: bool(s.reason))
        assert status.reason == NO_KEY_FRAME
        come.set()
        assert plays(await until(pump, plays))


async def test_rare_key_frames_are_transcoded_with_a_hint(relay: Relay, clip: Clip) -> None:
    """150 s of the camera's time between two; its time runs ten times as fast as ours here."""
    camera = HostileCamera(
        clip, ticks=lambda n: n * 10 * TICKS, sends=lambda n: n % 25 != 0 or n % 375 == 0
    )
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, lambda s: plays(s, 1) and s.transcoded)
        assert "key frames too rarely" in status.reason
        assert "interval" in status.reason


async def test_b_frames_are_transcoded(relay: Relay) -> None:
    clip = encode({"profile": "main"}, frames=25, gop=25, size=(160, 96), b_frames=2)
    order = sorted(clip.pts_s)
    shown = [order.index(pts) for pts in clip.pts_s]
    camera = HostileCamera(clip, ticks=lambda n: (n // 25 * 25 + shown[n % 25]) * TICKS)
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, lambda s: plays(s, 30))
        assert status.transcoded
        assert "B-frames" in status.reason


async def test_h265_is_transcoded(relay: Relay) -> None:
    options = {"preset": "ultrafast", "x265-params": "log-level=none:repeat-headers=1:bframes=0"}
    clip = encode(options, frames=25, gop=25, size=(160, 96), codec="libx265", container="hevc")
    camera = HostileCamera(clip, "H265")
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, lambda s: plays(s, 10))
        assert (status.codec, status.transcoded) == ("hevc", True)


async def test_two_video_tracks_and_the_first_one_plays(relay: Relay, clip: Clip) -> None:
    second = ["m=video 0 RTP/AVP 97", "a=rtpmap:97 H264/90000", "a=control:track2"]
    camera = HostileCamera(clip, bend=lambda lines: [*lines, *second])
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        assert (await until(pump, plays)).width == 160


async def test_two_formats_in_one_media_line(relay: Relay, clip: Clip) -> None:
    def bend(lines: list[str]) -> list[str]:
        at = lines.index("m=video 0 RTP/AVP 96")
        both = ["m=video 0 RTP/AVP 96 98", "a=rtpmap:98 H265/90000"]
        return [*lines[:at], *both, *lines[at + 1 :]]

    camera = HostileCamera(clip, bend=bend)
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        assert (await until(pump, plays)).codec == "h264"


@pytest.mark.long
async def test_data_of_another_codec_than_the_described_one_is_said(
    relay: Relay, clip: Clip
) -> None:
    def bend(lines: list[str]) -> list[str]:
        return [line.replace("H264/", "H265/") for line in lines if "fmtp" not in line]

    camera = HostileCamera(clip, bend=bend)
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, lambda s: bool(s.reason))
        assert status.reason == UNDECODABLE.format(codec="hevc")


async def test_sound_alone_is_said_to_be_no_video(relay: Relay, clip: Clip) -> None:
    sound = ["m=audio 0 RTP/AVP 96", "a=rtpmap:96 PCMA/8000", "a=control:track1"]
    camera = HostileCamera(clip, bend=lambda lines: [*lines[:5], *sound])
    async with camera.serving(), pumped(relay.url(camera.url())) as pump:
        status = await until(pump, lambda s: s.phase is StreamPhase.FAILED)
        assert status.reason == CameraProblem.NO_VIDEO.reason


async def test_a_name_that_is_not_ascii_and_a_title_that_is_not_utf8(
    relay: Relay, clip: Clip
) -> None:
    camera = HostileCamera(
        clip, bend=lambda lines: [*lines[:2], "s=Câmera 大门 \U0001f3a5", *lines[3:]]
    )
    async with camera.serving():
        assert len(await read(relay.url(camera.url()), 5)) == 5


async def reconnected(relay: Relay, clip: Clip, times: int) -> None:
    """After that many breaks the process has as many tasks, threads and descriptors as after a few,
    and hardly more memory."""
    process = psutil.Process()
    async with HostileCamera(clip, closes_after=2, pace_s=0.0).serving() as camera:
        async with pumped(relay.url(camera.url())) as pump:

            async def counted(connections: int) -> tuple[int, int, int]:
                async with asyncio.timeout(PATIENCE_S * (1 + times / 20)):
                    while camera.connections < connections:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                tasks = len(asyncio.all_tasks())
                return tasks, process.num_threads(), process.num_fds()

            before = await counted(8)
            memory = process.memory_info().rss
            after = await counted(8 + times)
            grown = process.memory_info().rss - memory
            assert pump.status().reconnects >= times
    # A connection has some tasks and descriptors; a count may find one that is being made.
    assert all(now <= then + 8 for now, then in zip(after, before, strict=True)), (before, after)
    assert grown < 24 * 1024 * 1024


async def test_reconnects_leave_nothing_behind(relay: Relay, clip: Clip) -> None:
    await reconnected(relay, clip, 25)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_500_reconnects_leave_nothing_behind(relay: Relay, clip: Clip) -> None:
    await reconnected(relay, clip, 500)
