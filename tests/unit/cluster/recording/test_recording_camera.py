"""A tenant's settings give a recorder, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.core.settings import RecordingSettings
from cluster.recording.camera import CameraRecording
from cluster.recording.outbox import SegmentOutbox
from cluster.recording.segment import VideoFormat, VideoUnit
from pipelines.domain import (
    CameraKey,
    MaskedRecording,
    Recording,
    RecordingMode,
    RecordingState,
    Schedule,
    Window,
)
from tests.unit.cluster.recording.test_recording_segment import (
    FRAMES,
    HEIGHT,
    START_US,
    WIDTH,
    units,
)
from tests.unit.cluster.recording.watched import TIMEOUT_S, WatchedRecorder

GATE = CameraKey("acme", "gate")
VIDEO = VideoFormat("h264", WIDTH, HEIGHT)
ALWAYS = Recording(mode=RecordingMode.CONTINUOUS)
OFF = Recording(mode=RecordingMode.OFF)
MASKS = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)


@pytest.fixture(scope="module")
def stream() -> list[VideoUnit]:
    return units("libx264", 0)


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.recording.camera.Recorder", WatchedRecorder)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[SegmentOutbox]:
    made = SegmentOutbox(tmp_path / "outbox", 1 << 30)
    yield made
    made.close()


@pytest.fixture
def recording(outbox: SegmentOutbox) -> Iterator[CameraRecording]:
    made = CameraRecording(GATE, RecordingSettings(), outbox)
    yield made
    made.request_stop()
    assert made.join(TIMEOUT_S)


def offer(recording: CameraRecording, stream: list[VideoUnit]) -> None:
    recorder = recording.tap.recorder
    assert recorder is not None
    for unit in stream:
        recorder.offer(unit, VIDEO)


def until(recording: CameraRecording, condition: Callable[[], bool]) -> None:
    recorder = recording.tap.recorder
    assert isinstance(recorder, WatchedRecorder)
    recorder.until(condition)


def test_nothing_is_recorded_by_default(recording: CameraRecording) -> None:
    assert recording.tap.recorder is None
    status = recording.status()
    assert (status.state, status.reason, status.segments) == (RecordingState.OFF, "", 0)


def test_switching_recording_off_finishes_the_file(
    recording: CameraRecording, outbox: SegmentOutbox, stream: list[VideoUnit]
) -> None:
    recording.apply(ALWAYS, ())
    assert recording.status().state is RecordingState.IDLE
    offer(recording, stream)
    until(recording, lambda: recording.status().state is RecordingState.RECORDING)
    recording.apply(OFF, ())
    assert recording.tap.recorder is None
    assert recording.join(TIMEOUT_S)
    (waiting,) = outbox.waiting()
    assert (waiting.key, waiting.file.frames) == (GATE, FRAMES)
    assert waiting.file.tags.rolls_us is None
    status = recording.status()
    assert (status.state, status.segments, status.dropped) == (RecordingState.OFF, 1, {})


def test_unchanged_settings_keep_the_recorder(recording: CameraRecording) -> None:
    recording.apply(ALWAYS, ())
    first = recording.tap.recorder
    recording.apply(Recording(mode=RecordingMode.CONTINUOUS), ())
    assert recording.tap.recorder is first
    recording.apply(ALWAYS, MASKS)
    assert recording.tap.recorder is not first


def test_in_alarm_mode_files_are_tagged_with_pre_and_post_roll(
    recording: CameraRecording, outbox: SegmentOutbox, stream: list[VideoUnit]
) -> None:
    recording.apply(Recording(pre_roll_s=2.5, post_roll_s=7), ())
    offer(recording, stream)
    recording.request_stop()
    assert recording.join(TIMEOUT_S)
    assert outbox.waiting()[0].file.tags.rolls_us == (2_500_000, 7_000_000)


def test_masks_are_painted_or_nothing_is_recorded(
    recording: CameraRecording, outbox: SegmentOutbox, stream: list[VideoUnit]
) -> None:
    recording.apply(ALWAYS.model_copy(update={"masked": MaskedRecording.OFF}), MASKS)
    status = recording.status()
    assert recording.tap.recorder is None
    assert status.state is RecordingState.OFF
    assert "masks" in status.reason
    recording.apply(ALWAYS, MASKS)
    offer(recording, stream)
    recording.request_stop()
    assert recording.join(TIMEOUT_S)
    assert outbox.waiting()[0].file.tags.masked


def test_a_schedule_is_exact_to_the_frame(
    recording: CameraRecording, outbox: SegmentOutbox, stream: list[VideoUnit]
) -> None:
    """The clip spans the end of the schedule's window: 14:14 in Sao Paulo."""
    end_us = int(datetime(2026, 9, 21, 17, 14, tzinfo=UTC).timestamp()) * 1_000_000
    by_us = end_us - START_US - 20 * 40_000
    moved = [
        VideoUnit(u.data, u.key_frame, u.capture_us + by_us, u.decode_us + by_us) for u in stream
    ]
    schedule = Schedule(timezone="America/Sao_Paulo", windows=(Window(start="09:00", end="14:14"),))
    recording.apply(Recording(mode=RecordingMode.SCHEDULE, schedule=schedule), ())
    offer(recording, moved)
    until(recording, lambda: recording.status().segments == 1)
    assert recording.status().state is RecordingState.IDLE
    (waiting,) = outbox.waiting()
    assert waiting.file.frames == sum(unit.capture_us < end_us for unit in moved)
    # Frames outside the schedule do not count as lost.
    assert recording.status().dropped == {}


def test_a_disk_error_is_reported_and_retried(tmp_path: Path, stream: list[VideoUnit]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    outbox = SegmentOutbox(blocked, 1 << 30)
    recording = CameraRecording(GATE, RecordingSettings(), outbox)
    recording.apply(ALWAYS, ())
    status = recording.status()
    assert status.state is RecordingState.FAILING
    assert "outbox" in status.reason
    blocked.unlink()
    recording.apply(ALWAYS, ())
    offer(recording, stream)
    until(recording, lambda: recording.status().state is RecordingState.RECORDING)
    recording.request_stop()
    assert recording.join(TIMEOUT_S)
    outbox.close()
