"""What was seen in a clip, beside it: boxes by time, as JSON and as WebVTT.

Coordinates are normalized: 0..1 of the picture, origin top left. Times are those of the clip: 0 is
its first picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster.clips.timeline import Span
from pipelines.domain import PATH_SCALE, Alarm, TrackPath
from pipelines.times import rfc3339

# Paths hold milliseconds: what one frame showed of two tracks may be one apart. Frames are at least
# 33 ms apart.
SAME_FRAME_US = 2_000
# Where nothing was looked at for longer than this, old boxes would lie beside what they are of.
HOLD_US = 500_000

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2, normalized."""


@dataclass(frozen=True, slots=True)
class SeenBox:
    """One object in one frame; `alarm`: it is what the alarm is about."""

    track: str
    label: str
    confidence: float
    box: Box
    alarm: bool = False

    def as_dict(self) -> dict[str, Any]:
        about = {"alarm": True} if self.alarm else {}
        return {
            "track": self.track,
            "class": self.label,
            "confidence": round(self.confidence, 4),
            "box": [round(side, 4) for side in self.box],
            **about,
        }


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """All that was seen in one frame, `at_us` after 1970."""

    at_us: int
    boxes: tuple[SeenBox, ...]


def seen_frames(alarm: Alarm, paths: Iterable[TrackPath], span: Span) -> list[SeenFrame]:
    """The frames of a clip in which something was seen, in order of time.

    The alarm's own box is always among them, also where no path is known.

    Args:
        paths: of the alarm's camera, any that touch the clip.
        span: what the clip covers.
    """
    points = sorted(
        (
            (path.start_us + point[0] * 1_000, _seen(path, point[1:]))
            for path in paths
            for point in path.points
        ),
        key=lambda item: (item[0], item[1].track),
    )
    about = SeenBox(alarm.track, alarm.label, alarm.confidence, alarm.box, alarm=True)
    frames: list[SeenFrame] = []
    placed = False
    for at_us, box in points:
        if not span.from_us <= at_us < span.to_us:
            continue
        if box.track == alarm.track and abs(at_us - alarm.capture_us) <= SAME_FRAME_US:
            box, placed = about, True
        if frames and at_us - frames[-1].at_us <= SAME_FRAME_US:
            frames[-1] = SeenFrame(frames[-1].at_us, (*frames[-1].boxes, box))
        else:
            frames.append(SeenFrame(at_us, (box,)))
    if not placed:
        frames = _with(frames, alarm.capture_us, about)
    return frames


def _seen(path: TrackPath, corners: tuple[int, ...]) -> SeenBox:
    x1, y1, x2, y2 = (corner / PATH_SCALE for corner in corners)
    return SeenBox(path.track, path.label, path.confidence, (x1, y1, x2, y2))


def _with(frames: list[SeenFrame], at_us: int, box: SeenBox) -> list[SeenFrame]:
    """The frames with one more box, in the frame of that time or in one of its own."""
    for n, frame in enumerate(frames):
        if abs(frame.at_us - at_us) <= SAME_FRAME_US:
            return [*frames[:n], SeenFrame(frame.at_us, (*frame.boxes, box)), *frames[n + 1 :]]
    return sorted([*frames, SeenFrame(at_us, (box,))], key=lambda frame: frame.at_us)


def as_json(alarm: Alarm, frames: list[SeenFrame], span: Span, *, complete: bool) -> bytes:
    """`{"version", "alarm", "complete", "from", "to", "frames": [{"t", "boxes": [{"track", "class",
    "confidence", "box", "alarm"?}]}]}`; `t` in seconds of the clip.

    Args:
        complete: whether all that was seen in the clip must have been known.
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
    """What `as_json` was told."""
    return json.loads(content)["complete"] is True


def as_webvtt(frames: list[SeenFrame], span: Span) -> bytes:
    """A track of `kind=metadata`: each cue holds `{"boxes": …}` as in the JSON, from its frame to
    the next one, and for at most `HOLD_US`."""
    lines = ["WEBVTT", ""]
    for n, frame in enumerate(frames):
        end_us = min(frame.at_us + HOLD_US, span.to_us)
        if n + 1 < len(frames):
            end_us = min(end_us, frames[n + 1].at_us)
        start_ms, end_ms = ((at_us - span.from_us) // 1_000 for at_us in (frame.at_us, end_us))
        boxes = json.dumps({"boxes": [b.as_dict() for b in frame.boxes]}, separators=(",", ":"))
        lines += [
            f"{_timestamp(start_ms)} --> {_timestamp(max(end_ms, start_ms + 1))}",
            # A name with an arrow in it would end the cue.
            boxes.replace(">", "\\u003e"),
            "",
        ]
    return "\n".join(lines).encode()


def _timestamp(ms: int) -> str:
    seconds, ms = divmod(ms, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{ms:03}"
