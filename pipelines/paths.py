"""Trajectories: the boxes of each track, in pieces of a few seconds. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.domain import (
    PATH_CELL_US,
    PATH_SCALE,
    CameraKey,
    FrameStamp,
    PathPoint,
    Track,
    TrackPath,
)
from pipelines.tracking import Observation, Scene

# 60 frames per second over 5 s are 300 points; beyond this limit a path ends within its cell.
MAX_POINTS = 1_000


@dataclass(slots=True)
class _Path:
    """Points of one track in one cell."""

    cell: int
    start_us: int
    points: list[PathPoint] = field(default_factory=list)
    confidence: float = 0.0
    end_us: int = 0

    def accepts(self, capture_us: int) -> bool:
        """Whether a point at that time continues this path: same cell, not earlier, not full."""
        return (
            capture_us // PATH_CELL_US == self.cell
            and self.end_us <= capture_us
            and len(self.points) < MAX_POINTS
        )

    def add(self, stamp: FrameStamp, track: Track) -> None:
        at_ms = (stamp.capture_us - self.start_us) // 1_000
        self.points.append((at_ms, *_scaled(track, stamp)))
        self.confidence = max(self.confidence, track.confidence)
        self.end_us = stamp.capture_us


@dataclass(slots=True)
class _Entry:
    """One track: its open path, and ended ones, which are held until the track is confirmed.

    `until_us` is the end of the last ended path.
    """

    label: str
    open: _Path | None = None
    ended: list[_Path] = field(default_factory=list)
    until_us: int = -1
    confirmed: bool = False

    def add(self, stamp: FrameStamp, track: Track) -> None:
        if self.open is None:
            cell = stamp.capture_us // PATH_CELL_US
            start_us = cell * PATH_CELL_US
            if start_us <= self.until_us:
                # An earlier path filled this cell, or the camera's clock was set back: use another
                # id, in whole milliseconds like the points of every path, and off the grid.
                start_us = stamp.capture_us // 1_000 * 1_000
                start_us -= 1_000 if start_us % PATH_CELL_US == 0 else 0
            self.open = _Path(cell, start_us)
        self.open.add(stamp, track)

    def end(self) -> None:
        if self.open is not None:
            self.until_us = max(self.until_us, self.open.end_us)
            self.ended.append(self.open)
            self.open = None


class PathBook:
    """Paths of one camera's tracks.

    A path includes the boxes from before its track was confirmed; a track that is never confirmed
    has no path. Memory is bounded by one cell of the objects in sight.
    """

    def __init__(self, key: CameraKey) -> None:
        self._key = key
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def step(self, scene: Scene) -> tuple[TrackPath, ...]:
        """Process one frame; returns the paths that ended before it, by track and time."""
        for entry in self._entries.values():
            if entry.open is not None and not entry.open.accepts(scene.stamp.capture_us):
                entry.end()
        for seen in scene.seen:
            self._add(scene.stamp, seen)
        forgotten = [key for key in scene.forgotten if key in self._entries]
        for key in forgotten:
            self._entries[key].end()
        finished = self._take_finished()
        for key in forgotten:
            del self._entries[key]
        return finished

    def finish(self) -> tuple[TrackPath, ...]:
        """End of the stream: returns the remaining paths."""
        for entry in self._entries.values():
            entry.end()
        finished = self._take_finished()
        self._entries.clear()
        return finished

    def _add(self, stamp: FrameStamp, seen: Observation) -> None:
        entry = self._entries.setdefault(seen.track.key, _Entry(seen.track.label))
        entry.label, entry.confirmed = seen.track.label, seen.confirmed
        entry.add(stamp, seen.track)

    def _take_finished(self) -> tuple[TrackPath, ...]:
        """Remove and return the ended paths of confirmed tracks."""
        finished: list[TrackPath] = []
        for key in sorted(self._entries):
            entry = self._entries[key]
            if entry.confirmed:
                finished += [self._track_path(key, entry, path) for path in entry.ended]
                entry.ended.clear()
        return tuple(finished)

    def _track_path(self, key: str, entry: _Entry, path: _Path) -> TrackPath:
        return TrackPath(
            tenant=self._key.tenant,
            camera=self._key.camera,
            track=key,
            label=entry.label,
            confidence=path.confidence,
            start_us=path.start_us,
            end_us=path.end_us,
            points=tuple(path.points),
        )


def _scaled(track: Track, stamp: FrameStamp) -> tuple[int, int, int, int]:
    """The box in 1/PATH_SCALE of the frame, clipped to it."""
    x1, y1, x2, y2 = (
        min(PATH_SCALE, max(0, round(value * PATH_SCALE / side)))
        for value, side in zip(track.box, (stamp.width, stamp.height) * 2, strict=True)
    )
    return (x1, y1, x2, y2)
