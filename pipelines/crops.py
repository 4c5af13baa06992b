"""Selects the best crop of each object, and when to store it. The caller cuts the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.domain import CameraKey, PixelBox, Sighting, Track

if TYPE_CHECKING:  # Whoever cuts crops out of videos needs no tracker.
    from pipelines.tracking import Scene

S = 1_000_000
"""Microseconds per second."""

CropBox = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole source pixels, inside the frame; x2 and y2 exclusive."""

# Margin on each side, as a fraction of the box: detectors cut off hands and feet.
MARGIN = 0.05
# A new best crop must score higher by this factor: someone who walks up to the camera costs some 10
# crops, not one per frame.
BETTER = 1.15
# Score factor at the frame's edge, where objects are cut off, and weight of the occluded share. A
# box within EDGE_PX pixels counts as touching the edge.
EDGE_FACTOR = 0.5
OCCLUSION_WEIGHT = 0.7
EDGE_PX = 2.0

# Delay of the first storage after confirmation: long enough for a good crop, short enough for a
# search of the present.
REMEMBER_AFTER_US = 1 * S
# Minimum time between later ones, so that a parked car that is lost every few seconds is not
# embedded every few seconds.
REMEMBER_PAUSE_US = 60 * S


@dataclass(frozen=True, slots=True)
class CropRequest:
    """This frame shows the track best so far: cut `box` out of it. Keep only the latest crop per
    track, until the track is forgotten.
    """

    track_key: str
    box: CropBox


@dataclass(frozen=True, slots=True)
class RememberRequest:
    """Store the track's best crop with this sighting, replacing an earlier one of the track."""

    sighting: Sighting


@dataclass(slots=True)
class _Entry:
    """State of one confirmed track; `*_us` is scene time.

    `changed`: whether it was seen since it was last stored.
    """

    track: Track
    size: tuple[int, int]
    confirmed_us: int
    best: float = 0.0
    best_track: Track | None = None
    best_size: tuple[int, int] = (1, 1)
    remembered_us: int | None = None
    changed: bool = True


class CropBook:
    """Best crops of one camera's tracks."""

    def __init__(self, key: CameraKey) -> None:
        self._key = key
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def step(self, scene: Scene) -> tuple[tuple[CropRequest, ...], tuple[RememberRequest, ...]]:
        """Process one frame; returns the crops to cut from it, and then the sightings to store."""
        tracks = [seen.track for seen in scene.seen]
        size = (scene.stamp.width, scene.stamp.height)
        scores = _scores(tracks, size)
        crops: list[CropRequest] = []
        remember: list[RememberRequest] = []
        for seen, score in zip(scene.seen, scores, strict=True):
            if not seen.confirmed:
                continue
            key = seen.track.key
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(seen.track, size, scene.scene_us)
            entry.track, entry.size, entry.changed = seen.track, size, True
            if score > entry.best * BETTER:
                entry.best, entry.best_track, entry.best_size = score, seen.track, size
                crops.append(CropRequest(key, crop_box(seen.track.box, size)))
            first_due = scene.scene_us - entry.confirmed_us >= REMEMBER_AFTER_US
            if entry.remembered_us is None and first_due:
                remember.append(self._remember(entry, scene.scene_us))
        for key in scene.ended:
            remember += self._at_end(self._entries[key], scene.scene_us)
        for key in scene.forgotten:
            forgotten = self._entries.pop(key, None)
            if forgotten is not None and forgotten.changed:
                remember.append(self._remember(forgotten, scene.scene_us))
        return tuple(crops), tuple(remember)

    def finish(self) -> tuple[RememberRequest, ...]:
        """Sightings that remain to be stored at the end of the stream."""
        return tuple(
            self._remember(self._entries[key], self._entries[key].confirmed_us)
            for key in sorted(self._entries)
            if self._entries[key].changed
        )

    def _at_end(self, entry: _Entry, now_us: int) -> list[RememberRequest]:
        pause_over = (
            entry.remembered_us is None or now_us - entry.remembered_us >= REMEMBER_PAUSE_US
        )
        return [self._remember(entry, now_us)] if entry.changed and pause_over else []

    def _remember(self, entry: _Entry, now_us: int) -> RememberRequest:
        entry.remembered_us, entry.changed = now_us, False
        best = entry.best_track or entry.track
        return RememberRequest(
            Sighting(
                tenant=self._key.tenant,
                camera=self._key.camera,
                track=entry.track.key,
                label=entry.track.label,
                confidence=best.confidence,
                first_seen_us=entry.track.first_seen_us,
                last_seen_us=entry.track.last_seen_us,
                box=normalized(best.box, entry.best_size),
            )
        )


def crop_box(box: PixelBox, size: tuple[int, int]) -> CropBox:
    """The box with its margin, in whole pixels, clipped to a frame of `size`; at least 1x1."""
    dx, dy = MARGIN * (box[2] - box[0]), MARGIN * (box[3] - box[1])
    x1 = min(size[0] - 1, max(0, floor(box[0] - dx)))
    y1 = min(size[1] - 1, max(0, floor(box[1] - dy)))
    x2 = max(x1 + 1, min(size[0], ceil(box[2] + dx)))
    y2 = max(y1 + 1, min(size[1], ceil(box[3] + dy)))
    return (x1, y1, x2, y2)


def normalized(box: PixelBox, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Convert source pixels to normalized coordinates, clipped to 0..1."""
    width, height = size
    x1, y1, x2, y2 = (
        min(1.0, max(0.0, value / side))
        for value, side in zip(box, (width, height, width, height), strict=True)
    )
    return (x1, y1, x2, y2)


def _scores(tracks: list[Track], size: tuple[int, int]) -> list[float]:
    """Crop quality of each track in this frame, by confidence, size, completeness and occlusion."""
    if not tracks:
        return []
    boxes = np.array([track.box for track in tracks], dtype=np.float64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    occluded = _occluded_shares(boxes, areas)
    scores = []
    for track, own_area, occluded_share in zip(tracks, areas, occluded, strict=True):
        x1, y1, x2, y2 = track.box
        at_edge = (
            x1 <= EDGE_PX or y1 <= EDGE_PX or x2 >= size[0] - EDGE_PX or y2 >= size[1] - EDGE_PX
        )
        score = track.confidence * sqrt(own_area / (size[0] * size[1]))
        score *= EDGE_FACTOR if at_edge else 1.0
        scores.append(float(score * (1.0 - OCCLUSION_WEIGHT * occluded_share)))
    return scores


def _occluded_shares(
    boxes: npt.NDArray[np.float64], areas: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Occluded share of each box: the largest part covered by one nearer box (lower foot point).

    Args:
        boxes: float64 (n, 4), source pixels.
        areas: float64 (n,).

    Returns:
        float64 (n,), 0..1.
    """
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    nearer = boxes[None, :, 3] > boxes[:, None, 3]
    shares: npt.NDArray[np.float64] = (shared * nearer).max(axis=1) / areas
    return shares
