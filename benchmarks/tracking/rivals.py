"""The pipeline's tracker, and those of libraries, behind one interface.

Those of libraries have their defaults, but for the rate, and the confidence that starts a track: it
is ours. They see no picture, as ours does not: no appearance, no camera motion.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import supervision as sv
from trackers import (
    BoTSORTTracker,
    ByteTrackTracker,
    CBIoUTracker,
    OCSORTTracker,
    SORTTracker,
)
from trackers.core.base import BaseTracker
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import ROOT, YAML

from benchmarks.tracking.metrics import Reported
from benchmarks.tracking.scenes import START_US
from pipelines.domain import Detections, FrameStamp
from pipelines.pipeline import ACTIVATION
from pipelines.tracking import CameraTracker


class Tracker(Protocol):
    """Follows the objects of one camera."""

    def update(self, stamp: FrameStamp, found: Detections) -> list[Reported]:
        """What is tracked in the next frame."""


class Ours:
    """`pipelines.tracking`. The keys of tracks become numbers, in the order of appearance."""

    def __init__(self) -> None:
        self._tracker = CameraTracker(ACTIVATION)
        self._numbers: dict[str, int] = {}

    def update(self, stamp: FrameStamp, found: Detections) -> list[Reported]:
        scene = self._tracker.update(stamp, found)
        seen = scene.seen if scene is not None else ()
        return [
            Reported(
                self._numbers.setdefault(one.track.key, len(self._numbers)),
                one.track.box,
                one.confirmed,
            )
            for one in seen
        ]


class _Roboflow:
    """A tracker of `trackers`."""

    def __init__(self, tracker: BaseTracker) -> None:
        self._tracker = tracker

    def update(self, stamp: FrameStamp, found: Detections) -> list[Reported]:
        boxes = sv.Detections(
            xyxy=found.xyxy.astype(np.float64), confidence=found.confidence.astype(np.float64)
        )
        tracked = self._tracker.update(boxes, timestamp=(stamp.capture_us - START_US) / 1e6)
        numbers = tracked.tracker_id if tracked.tracker_id is not None else ()
        return [
            Reported(int(number), tuple(box.tolist()))
            for number, box in zip(numbers, tracked.xyxy, strict=True)
            if number != -1
        ]


class _Ultralytics:
    """A tracker of `ultralytics`, by the name in its configuration; it counts frames, not time."""

    def __init__(self, name: str, fps: float) -> None:
        path = ROOT / f"cfg/trackers/{name}.yaml"
        arguments: dict[str, Any] = YAML.load(path)  # type: ignore[no-untyped-call]
        arguments |= {
            "track_high_thresh": ACTIVATION,
            "new_track_thresh": ACTIVATION,
            "track_buffer": max(2, round(fps)),
            "gmc_method": "none",
            "with_reid": False,
        }
        self._tracker: Any = TRACKER_MAP[name](SimpleNamespace(**arguments))

    def update(self, stamp: FrameStamp, found: Detections) -> list[Reported]:
        rows = np.zeros((len(found.labels), 6), dtype=np.float32)
        rows[:, :4], rows[:, 4] = found.xyxy, found.confidence
        tracked = self._tracker.update(Boxes(rows, (stamp.height, stamp.width)))
        return [Reported(int(row[4]), tuple(row[:4].tolist())) for row in tracked]


TRACKERS: dict[str, Callable[[float], Tracker]] = {
    "ours": lambda fps: Ours(),
    "ByteTrack (trackers)": lambda fps: _Roboflow(
        ByteTrackTracker(
            frame_rate=fps,
            track_activation_threshold=ACTIVATION,
            high_conf_det_threshold=ACTIVATION,
        )
    ),
    "SORT (trackers)": lambda fps: _Roboflow(
        SORTTracker(frame_rate=fps, track_activation_threshold=ACTIVATION)
    ),
    "OC-SORT (trackers)": lambda fps: _Roboflow(
        OCSORTTracker(frame_rate=fps, high_conf_det_threshold=ACTIVATION)
    ),
    "BoT-SORT (trackers)": lambda fps: _Roboflow(
        BoTSORTTracker(
            frame_rate=fps,
            track_activation_threshold=ACTIVATION,
            high_conf_det_threshold=ACTIVATION,
            enable_cmc=False,
        )
    ),
    "C-BIoU (trackers)": lambda fps: _Roboflow(
        CBIoUTracker(
            frame_rate=fps,
            track_activation_threshold=ACTIVATION,
            high_conf_det_threshold=ACTIVATION,
        )
    ),
    "ByteTrack (ultralytics)": lambda fps: _Ultralytics("bytetrack", fps),
    "BoT-SORT (ultralytics)": lambda fps: _Ultralytics("botsort", fps),
    "OC-SORT (ultralytics)": lambda fps: _Ultralytics("ocsort", fps),
}
