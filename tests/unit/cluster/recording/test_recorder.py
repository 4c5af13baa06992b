"""Where the recorder splits, what it drops, and how it recovers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.recording.recorder import GAP_US
from cluster.recording.segment import SegmentFile, VideoFormat, VideoUnit
from tests.unit.cluster.recording.test_recording_segment import (
    GOP,
    HEIGHT,
    WIDTH,
    read,
    units,
)
from tests.unit.cluster.recording.watched import TIMEOUT_S, WatchedRecorder

FORMAT = VideoFormat("h264", WIDTH, HEIGHT)
STEP_US = 40_000
Start = Callable[..., WatchedRecorder]


@pytest.fixture(scope="module")
def stream() -> list[VideoUnit]:
    """35 frames, a key frame every ten."""
    return units("libx264", 0)


@pytest.fixture
def done() -> list[SegmentFile]:
    return []


@pytest.fixture
def make(tmp_path: Path, done: list[SegmentFile]) -> Start:
    def start(segment_us: int = 10**9, **options: int) -> WatchedRecorder:
        return WatchedRecorder(
            "test", tmp_path, segment_us=segment_us, on_segment=done.append, **options
        )

    return start


def shifted(unit: VideoUnit, by_us: int) -> VideoUnit:
    return VideoUnit(unit.data, unit.key_frame, unit.capture_us + by_us, unit.decode_us + by_us)


def feed(recorder: WatchedRecorder, stream: list[VideoUnit], video: VideoFormat = FORMAT) -> None:
    for unit in stream:
        recorder.offer(unit, video)


def test_segments_start_at_key_frames_and_hold_every_frame(
    make: Start, stream: list[VideoUnit], done: list[SegmentFile]
) -> None:
    recorder = make(segment_us=GOP * STEP_US + STEP_US)  # slightly more than one GOP
    recorder.start()
    feed(recorder, stream)
    assert recorder.close(TIMEOUT_S)
    assert [segment.frames for segment in done] == [2 * GOP, 15]
    assert [segment.start_us for segment in done] == [
        stream[0].capture_us,
        stream[2 * GOP].capture_us,
    ]
    times = [s.origin_us + at_us for s in done for at_us, _ in read(s.path)]
    assert times == [unit.capture_us for unit in stream]
    status = recorder.status()
    assert (status.segments, status.written, status.dropped, status.error) == (2, 35, 0, "")


@pytest.mark.parametrize("by_us", [GAP_US, -10 * STEP_US], ids=["gap", "set back"])
def test_a_jump_in_time_starts_a_segment(
    make: Start, stream: list[VideoUnit], done: list[SegmentFile], by_us: int
) -> None:
    recorder = make()
    recorder.start()
    feed(recorder, stream[:15])
    feed(recorder, [shifted(unit, by_us) for unit in stream[15:]])
    assert recorder.close(TIMEOUT_S)
    # Frames before the next key frame cannot be decoded in a new file.
    assert [segment.frames for segment in done] == [15, 15]
    assert done[1].start_us == stream[20].capture_us + by_us
    assert recorder.status().dropped == 5


def test_a_format_change_starts_a_segment(
    make: Start, stream: list[VideoUnit], done: list[SegmentFile]
) -> None:
    recorder = make()
    recorder.start()
    feed(recorder, stream[:10])
    feed(recorder, stream[10:], VideoFormat("h264", 2 * WIDTH, HEIGHT))
    assert recorder.close(TIMEOUT_S)
    assert [segment.frames for segment in done] == [10, 25]


def test_a_full_queue_drops_frames_up_to_a_key_frame(
    make: Start, stream: list[VideoUnit], done: list[SegmentFile]
) -> None:
    room = sum(len(unit.data) for unit in stream[:13])
    recorder = make(max_waiting_bytes=room)
    feed(recorder, stream[:20])  # before the thread starts: as with a disk that stalls
    assert recorder.status().dropped == 7
    recorder.start()
    recorder.until(lambda: recorder.status().written >= 13)
    feed(recorder, stream[20:])
    assert recorder.close(TIMEOUT_S)
    times = [s.origin_us + at_us for s in done for at_us, _ in read(s.path)]
    assert times == [unit.capture_us for unit in stream[:13] + stream[20:]]


def test_a_disk_error_is_reported_and_recording_resumes(
    make: Start, stream: list[VideoUnit], done: list[SegmentFile], tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    recorder = WatchedRecorder("test", folder, segment_us=10**9, on_segment=done.append)
    recorder.start()
    feed(recorder, stream[:10])
    recorder.until(lambda: bool(recorder.status().error) and recorder.status().dropped >= 10)
    assert ".mp4" in recorder.status().error
    folder.mkdir()
    feed(recorder, stream[10:])
    assert recorder.close(TIMEOUT_S)
    assert [segment.frames for segment in done] == [25]
    assert recorder.status().error == ""
    assert recorder.status().dropped == 10
    shutil.rmtree(folder)


def test_no_input_leaves_no_file(make: Start, done: list[SegmentFile], tmp_path: Path) -> None:
    recorder = make()
    recorder.start()
    assert recorder.close(TIMEOUT_S)
    assert done == []
    assert list(tmp_path.iterdir()) == []
