"""When a camera was analysed, whether or not anything was there: by cells of capture time. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.domain import PATH_CELL_US, AnalysedCell, CameraKey, TrackPath

# 60 frames per second over 5 s are 300; beyond this limit frames of a cell are left out.
MAX_TIMES = 1_000


class CoverageBook:
    """Cells of one camera. Memory is bounded by one cell.

    Each cell says how many objects have a path in it, so that whoever reads the records finds out
    where paths were lost on their way.
    """

    def __init__(self, key: CameraKey) -> None:
        self._key = key
        self._cell = -1
        self._times: list[int] = []
        self._end_us = 0
        self._tracks: set[str] = set()

    def step(self, capture_us: int, paths: Iterable[TrackPath]) -> tuple[AnalysedCell, ...]:
        """One analysed frame; returns the cell that ended before it, if one did.

        Args:
            paths: that ended before this frame.
        """
        self._count(paths)
        ended: tuple[AnalysedCell, ...] = ()
        cell = capture_us // PATH_CELL_US
        if cell != self._cell:
            ended = self._take()
            self._cell = cell
        at_ms = (capture_us - cell * PATH_CELL_US) // 1_000
        # Not where the clock was set back within a cell, which has frames of that time already.
        if len(self._times) < MAX_TIMES and (not self._times or at_ms > self._times[-1]):
            self._times.append(at_ms)
            self._end_us = capture_us
        return ended

    def finish(self, paths: Iterable[TrackPath]) -> tuple[AnalysedCell, ...]:
        """End of the stream: returns the cell that is open. Args: `paths`: the last."""
        self._count(paths)
        return self._take()

    def _count(self, paths: Iterable[TrackPath]) -> None:
        self._tracks |= {
            path.track for path in paths if path.start_us // PATH_CELL_US == self._cell
        }

    def _take(self) -> tuple[AnalysedCell, ...]:
        if not self._times:
            return ()
        ended = AnalysedCell(
            tenant=self._key.tenant,
            camera=self._key.camera,
            start_us=self._cell * PATH_CELL_US,
            end_us=self._end_us,
            times=tuple(self._times),
            tracks=len(self._tracks),
        )
        self._times, self._tracks = [], set()
        return (ended,)
