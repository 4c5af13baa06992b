"""A pull of a real gateway and its recording, where LiveKit is away: neither needs the room."""

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
from cluster.recording.spool import Spool, Spooled
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey, Recording, RecordingMode
from tests.integration.bridge.world import RECORDING, server_binary, until
from tests.integration.local.helpers import free_settings
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip

GATE = CameraKey("acme", "gate")
AUDIBLE = Recording(mode=RecordingMode.CONTINUOUS, audio=True)
TIMEOUT_S = 10.0


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
    """One camera, pulled and recorded into a spool."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        self.spool = Spool(settings.recording_spool, 1 << 30)
        self.recording = CameraRecording(GATE, settings.recording, self.spool)
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
        """What `RoomPublisher` answers while there is no room."""
        sink.expect(size)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    async def until_segments(self, recording: Recording, count: int) -> list[Spooled]:
        self.recording.apply(recording, ())
        before = len(self.spool.waiting())
        if not before:
            self._pump.start()
        await until("segments", lambda: len(self.spool.waiting()) >= before + count)
        return self.spool.waiting()[before:]

    def close(self) -> None:
        self._pump.request_stop()
        self.recording.request_stop()
        assert self._pump.join(TIMEOUT_S)
        assert self.recording.join(TIMEOUT_S)
        self.spool.close()


def heard(path: Path) -> tuple[list[float], float]:
    """When each piece of sound begins, seconds in the file; how loud the loudest is."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    times = [float(frame.pts * Fraction(frame.time_base)) for frame in frames]
    return times, max(float(np.abs(frame.to_ndarray()).max()) for frame in frames)


async def test_g711_is_recorded_beside_the_picture_where_it_is_wanted(
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
    times, peak = heard(loud.path)
    length_s = (loud.end_us - loud.start_us) / 1e6
    # AAC at 8 kHz comes in pieces of 128 ms; the encoder holds some back at the end.
    assert len(times) * 0.128 == pytest.approx(length_s, abs=0.45)
    assert times[0] == 0
    assert np.diff(times[1:]) == pytest.approx(0.128, abs=0.001)
    assert peak > 0.05


async def test_a_camera_that_announces_sound_and_sends_none_is_recorded_without(
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
