"""A stream of a real gateway and its recording while LiveKit is down: neither needs the room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import SecretStr

from cluster.bridge.pump import StreamPump
from cluster.bridge.room import TrackSink
from cluster.core.backoff import Backoff
from cluster.core.settings import Settings
from cluster.local.binaries import GO2RTC
from cluster.local.process import SupervisedProcess
from cluster.local.servers import go2rtc_spec, relay_spec
from cluster.media.go2rtc import Go2RtcGateway
from cluster.recording.camera import CameraRecording
from cluster.recording.outbox import PendingSegment, SegmentOutbox
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey, Recording, RecordingMode
from tests.integration.bridge.world import RECORDING, server_binary, until
from tests.integration.local.helpers import free_settings
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip

GATE = CameraKey("acme", "gate")
AUDIBLE = Recording(mode=RecordingMode.CONTINUOUS, audio=True)
TIMEOUT_S = 60.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(**free_settings(tmp_path / "data", recording=RECORDING))


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Go2RtcGateway]:
    server = SupervisedProcess(go2rtc_spec(settings, server_binary(GO2RTC)), clock=SystemClock())
    relay = SupervisedProcess(relay_spec(settings), clock=SystemClock())
    client = Go2RtcGateway(settings)
    try:
        await asyncio.gather(server.start(), relay.start())
        yield client
    finally:
        await client.aclose()
        await server.aclose()
        await relay.aclose()


class Pull:
    """One camera, pulled and recorded into an outbox."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        self.outbox = SegmentOutbox(settings.recording_spool, 1 << 30)
        self.recording = CameraRecording(GATE, settings.recording, self.outbox)
        self._pump = StreamPump(
            "acme.gate/main",
            url,
            TrackSink("main"),
            self._open_track,
            settings=settings.bridge,
            clock=SystemClock(),
            backoff=Backoff(0.2, 1.0),
            tap=self.recording.tap,
        )

    @staticmethod
    def _open_track(sink: TrackSink, size: tuple[int, int]) -> Future[None]:
        """What `RoomPublisher` returns while there is no room."""
        sink.expect(size)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    async def until_segments(self, recording: Recording, count: int) -> list[PendingSegment]:
        self.recording.apply(recording, ())
        before = len(self.outbox.waiting())
        if not before:
            self._pump.start()
        await until("segments", lambda: len(self.outbox.waiting()) >= before + count)
        return self.outbox.waiting()[before:]

    def close(self) -> None:
        self._pump.request_stop()
        self.recording.request_stop()
        assert self._pump.join(TIMEOUT_S)
        assert self.recording.join(TIMEOUT_S)
        self.outbox.close()


def decoded_audio(path: Path) -> tuple[list[float], float]:
    """Start of each audio frame, seconds in the file, and the peak amplitude."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    times = [float(frame.pts * Fraction(frame.time_base)) for frame in frames]
    return times, max(float(np.abs(frame.to_ndarray()).max()) for frame in frames)


async def test_g711_is_recorded_only_if_audio_is_enabled(
    settings: Settings, gateway: Go2RtcGateway, clip: Clip
) -> None:
    async with RtspCamera(clip, sound=True).serving() as camera:
        await gateway.ensure("acme.gate", SecretStr(camera.url()))
        pull = Pull(settings, gateway.rtsp_url("acme.gate", sound=True))
        try:
            loud = (await pull.until_segments(AUDIBLE, 3))[-1].file
            silent = (await pull.until_segments(AUDIBLE.model_copy(update={"audio": False}), 2))[
                -1
            ].file
            assert pull.recording.status().dropped == {}
        finally:
            pull.close()
        assert camera.played == 1
    assert (loud.audio, silent.audio) == ("aac", None)
    assert "converted" in loud.tags.note
    assert silent.tags.note == ""
    times, peak = decoded_audio(loud.path)
    length_s = (loud.end_us - loud.start_us) / 1e6
    # AAC frames at 8 kHz last 128 ms. The encoder still holds some at the end.
    assert len(times) * 0.128 == pytest.approx(length_s, abs=0.45)
    assert times[0] == 0
    assert np.diff(times[1:]) == pytest.approx(0.128, abs=0.001)
    assert peak > 0.05


async def test_announced_audio_that_never_arrives_is_left_out(
    settings: Settings, gateway: Go2RtcGateway, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as camera:
        await gateway.ensure("acme.gate", SecretStr(camera.url()))
        pull = Pull(settings, gateway.rtsp_url("acme.gate", sound=True))
        try:
            (first, second) = await pull.until_segments(AUDIBLE, 2)
            assert pull.recording.status().dropped == {}
        finally:
            pull.close()
    assert (first.file.audio, second.file.audio) == (None, None)
    assert second.file.start_us - first.file.end_us < 40_000
