"""Detections shown with a clip: boxes over time, as JSON and as WebVTT.

Coordinates are normalized to 0..1 of the frame, origin top left. Times are relative to the clip's
first frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster.clips.coverage import Span
from pipelines.domain import PATH_SCALE, Alarm, TrackPath
from pipelines.times import rfc3339

# Paths have millisecond resolution, so points of one frame may differ by one millisecond. Frames
# are at least 33 ms apart.
SAME_FRAME_US = 2_000
# After a gap of this length in the analysis, boxes would no longer match what they mark.
HOLD_US = 500_000

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2, normalized."""


@dataclass(frozen=True, slots=True)
class BoxAnnotation:
    """One object in one frame. `alarm`: whether the alarm is about it."""

    track: str
    label: str
    confidence: float
    box: Box
    alarm: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The box as in the JSON file."""
        about = {"alarm": True} if self.alarm else {}
        return {
            "track": self.track,
            "class": self.label,
            "confidence": round(self.confidence, 4),
            "box": [round(side, 4) for side in self.box],
            **about,
        }


@dataclass(frozen=True, slots=True)
class FrameAnnotations:
    """All objects in one frame. `at_us`: capture time, UTC microseconds."""

    at_us: int
    boxes: tuple[BoxAnnotation, ...]


def annotated_frames(
    alarm: Alarm, paths: Iterable[TrackPath], span: Span
) -> list[FrameAnnotations]:
    """The frames of a clip with at least one detection, in time order.

    They always include the alarm's own box, even without any path.

    Args:
        paths: paths of the alarm's camera that touch the clip.
        span: what the clip covers.
    """
    points = sorted(
        (
            (path.start_us + point[0] * 1_000, _from_path(path, point[1:]))
            for path in paths
            for point in path.points
        ),
        key=lambda item: (item[0], item[1].track),
    )
    about = BoxAnnotation(alarm.track, alarm.label, alarm.confidence, alarm.box, alarm=True)
    frames: list[FrameAnnotations] = []
    placed = False
    for at_us, box in points:
        if not span.from_us <= at_us < span.to_us:
            continue
        if box.track == alarm.track and abs(at_us - alarm.capture_us) <= SAME_FRAME_US:
            box, placed = about, True
        if frames and at_us - frames[-1].at_us <= SAME_FRAME_US:
            frames[-1] = FrameAnnotations(frames[-1].at_us, (*frames[-1].boxes, box))
        else:
            frames.append(FrameAnnotations(at_us, (box,)))
    if not placed:
        frames = _with(frames, alarm.capture_us, about)
    return frames


def _from_path(path: TrackPath, corners: tuple[int, ...]) -> BoxAnnotation:
    x1, y1, x2, y2 = (corner / PATH_SCALE for corner in corners)
    return BoxAnnotation(path.track, path.label, path.confidence, (x1, y1, x2, y2))


def _with(frames: list[FrameAnnotations], at_us: int, box: BoxAnnotation) -> list[FrameAnnotations]:
    """The frames with one more box, in the frame at that time or in a new one."""
    for n, frame in enumerate(frames):
        if abs(frame.at_us - at_us) <= SAME_FRAME_US:
            return [
                *frames[:n],
                FrameAnnotations(frame.at_us, (*frame.boxes, box)),
                *frames[n + 1 :],
            ]
    return sorted([*frames, FrameAnnotations(at_us, (box,))], key=lambda frame: frame.at_us)


def as_json(alarm: Alarm, frames: list[FrameAnnotations], span: Span, *, complete: bool) -> bytes:
    """`{"version", "alarm", "complete", "from", "to", "frames": [{"t", "boxes": [{"track", "class",
    "confidence", "box", "alarm"?}]}]}`; `t` in seconds of the clip.

    Args:
        complete: whether the paths were final, so that the file need not be made again.
    """
    content = {
        "version": 1,
        "alarm": str(alarm.id),
        "complete": complete,
        "from": rfc3339(span.from_us),
        "to": rfc3339(span.to_us),
        "frames": [
            {
                "t": (frame.at_us - span.from_us) / 1_000_000,
                "boxes": [box.as_dict() for box in frame.boxes],
            }
            for frame in frames
        ],
    }
    return json.dumps(content, separators=(",", ":")).encode()


def is_complete(content: bytes) -> bool:
    """The `complete` field of a file of `as_json`. Raises ValueError or KeyError for other data."""
    return json.loads(content)["complete"] is True


def as_webvtt(frames: list[FrameAnnotations], span: Span) -> bytes:
    """A `kind=metadata` track. Each cue holds `{"boxes": …}` as in the JSON, and lasts until the
    next frame, at most `HOLD_US`."""
    lines = ["WEBVTT", ""]
    for n, frame in enumerate(frames):
        end_us = min(frame.at_us + HOLD_US, span.to_us)
        if n + 1 < len(frames):
            end_us = min(end_us, frames[n + 1].at_us)
        start_ms, end_ms = ((at_us - span.from_us) // 1_000 for at_us in (frame.at_us, end_us))
        boxes = json.dumps({"boxes": [b.as_dict() for b in frame.boxes]}, separators=(",", ":"))
        lines += [
            f"{_timestamp(start_ms)} --> {_timestamp(max(end_ms, start_ms + 1))}",
            # An arrow in a name would end the cue.
            boxes.replace(">", "\\u003e"),
            "",
        ]
    return "\n".join(lines).encode()


def _timestamp(ms: int) -> str:
    seconds, ms = divmod(ms, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{ms:03}"
