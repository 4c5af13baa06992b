"""A process that records one camera, to be killed. Takes the outbox folder, prints progress."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cluster.core.settings import RecordingSettings
from cluster.recording.camera import CameraRecording
from cluster.recording.outbox import SegmentOutbox
from cluster.recording.segment import VideoFormat, VideoUnit
from pipelines.domain import CameraKey, Recording, RecordingMode
from tests.unit.cluster.recording.test_recording_segment import FRAMES, HEIGHT, WIDTH, units

KEY = CameraKey("acme", "gate")
LOOP_US = FRAMES * 40_000 + 1_000
SEGMENT_S = 3.0


def stream(encoder: str, loop: int) -> list[VideoUnit]:
    """The clip of the segment's tests, `loop` repetitions later."""
    by_us = loop * LOOP_US
    return [
        VideoUnit(unit.data, unit.key_frame, unit.capture_us + by_us, unit.decode_us + by_us)
        for unit in units(encoder, 0)
    ]


def main(folder: Path, encoder: str, codec: str) -> None:
    recording = CameraRecording(
        KEY, RecordingSettings(segment_s=SEGMENT_S), SegmentOutbox(folder, max_bytes=1 << 30)
    )
    recording.apply(Recording(mode=RecordingMode.CONTINUOUS), ())
    recorder = recording.tap.recorder
    assert recorder is not None
    for loop in range(1_000_000):
        for unit in stream(encoder, loop):
            recorder.offer(unit, VideoFormat(codec, WIDTH, HEIGHT))
        while recorder.status().written < (loop + 1) * FRAMES:
            time.sleep(0.001)
        print(loop, flush=True)  # noqa: T201 -- what the test waits for


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
