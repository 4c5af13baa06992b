"""What a watcher publishes on the room's data track."""

from __future__ import annotations

import orjson

from pipelines.domain import FrameStamp, Track

DETECTIONS_VERSION = 1


def encode_detections(stamp: FrameStamp, tracks: tuple[Track, ...]) -> bytes:
    """JSON of one analysed frame; boxes normalized, four decimals (a tenth of a pixel at 1080p)."""
    width, height = stamp.width, stamp.height

    def box(track: Track) -> list[float]:
        x1, y1, x2, y2 = track.box
        return [
            round(x1 / width, 4),
            round(y1 / height, 4),
            round(x2 / width, 4),
            round(y2 / height, 4),
        ]

    return orjson.dumps(
        {
            "v": DETECTIONS_VERSION,
            "t": stamp.capture_us,
            "w": width,
            "h": height,
            "tracks": [
                {"k": t.key, "c": t.label, "p": round(t.confidence, 3), "b": box(t)} for t in tracks
            ],
        }
    )
