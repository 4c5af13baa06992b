"""A process that records a camera and whose files may not grow beyond 12 kB: a full disk."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from cluster.core.settings import RecordingSettings
from cluster.recording import recorder as recorder_module
from cluster.recording.camera import CameraRecording
from cluster.recording.outbox import SegmentOutbox
from cluster.recording.segment import VideoFormat
from pipelines.domain import Recording, RecordingMode
from tests.integration.recording.recording_process import FRAMES, HEIGHT, KEY, WIDTH, stream

LIMIT_BYTES = 12_000
LOOPS = 8
WAKE_INTERVAL_S = 0.005
"""Each frame is waited for, so that no reason is missed: with the recorder's own half a second, two
minutes."""


def main(folder: Path) -> None:
    recorder_module.WAKE_INTERVAL_S = WAKE_INTERVAL_S
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))
    outbox = SegmentOutbox(folder, max_bytes=1 << 30)
    recording = CameraRecording(KEY, RecordingSettings(), outbox)
    recording.apply(Recording(mode=RecordingMode.CONTINUOUS), ())
    recorder = recording.tap.recorder
    assert recorder is not None
    reasons = set()
    for loop in range(LOOPS):
        for unit in stream("libx264", loop):
            recorder.offer(unit, VideoFormat("h264", WIDTH, HEIGHT))
            now = recorder.status().written + recorder.status().dropped
            while recorder.status().written + recorder.status().dropped == now:
                time.sleep(0.001)
            reasons.add(recording.status().reason)
    recording.request_stop()
    assert recording.join(20)
    files = [(str(waits.file.path), waits.file.frames) for waits in outbox.waiting()]
    dropped = recording.status().dropped["pictures"]
    reported = sorted(reason for reason in reasons if reason)
    sys.stdout.write(
        json.dumps(
            {"files": files, "dropped": dropped, "reasons": reported, "sent": LOOPS * FRAMES}
        )
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
