"""A recorder gets only frames into which its own masks are painted, and starts with a key frame."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from cluster.media.transcode import EncodedFrame
from cluster.recording.recorder import Recorder
from cluster.recording.segment import SegmentFile, VideoUnit
from cluster.recording.tap import RecordingTap
from pipelines.domain import Polygon
from tests.unit.cluster.recording.test_recording_segment import HEIGHT, WIDTH, read, units

LEFT: tuple[Polygon, ...] = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)),)
RIGHT: tuple[Polygon, ...] = (((0.5, 0.0), (1.0, 0.0), (1.0, 1.0)),)
TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def stream() -> list[VideoUnit]:
    """35 frames, a key frame every ten."""
    return units("libx264", 0)


@pytest.fixture
def tap(stream: list[VideoUnit]) -> Iterator[RecordingTap]:
    made = RecordingTap("test")
    with av.open(io.BytesIO(b"".join(unit.data for unit in stream)), format="h264") as source:
        made.opened(source.streams.video[0], None, transcoded=True, masked=True)
        yield made


def feed(tap: RecordingTap, stream: list[VideoUnit], masks: tuple[Polygon, ...]) -> None:
    for unit in stream:
        tap.frame(
            EncodedFrame(unit.data, unit.key_frame, WIDTH, HEIGHT, unit.capture_us / 1e6, masks),
            unit.capture_us,
        )


def test_frames_with_other_masks_are_refused(
    tap: RecordingTap, stream: list[VideoUnit], tmp_path: Path
) -> None:
    done: list[SegmentFile] = []
    recorder = Recorder("test", tmp_path, segment_us=10**9, on_segment=done.append, masks=LEFT)
    recorder.start()
    tap.recorder = recorder
    feed(tap, stream[:5], ())
    feed(tap, stream[5:8], RIGHT)
    feed(tap, stream[8:25], LEFT)  # a key frame is the tenth
    feed(tap, stream[25:28], RIGHT)
    feed(tap, stream[28:], LEFT)  # and the thirtieth
    assert recorder.close(TIMEOUT_S)
    (file,) = done
    assert len(read(file.path)) == file.frames == 15 + 5
    assert tap.lost == 5 + 3 + 3


def test_a_recorder_without_masks_gets_no_masked_frames(
    tap: RecordingTap, stream: list[VideoUnit], tmp_path: Path
) -> None:
    done: list[SegmentFile] = []
    recorder = Recorder("test", tmp_path, segment_us=10**9, on_segment=done.append)
    recorder.start()
    tap.recorder = recorder
    feed(tap, stream, LEFT)
    assert recorder.close(TIMEOUT_S)
    assert done == []
    assert tap.refused == len(stream)
