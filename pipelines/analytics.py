"""Aggregates over many objects: counts per hour in a time zone, and dwell heat maps. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.domain import PATH_SCALE
from pipelines.times import moment_of

SLOT_US = 15 * 60 * 1_000_000
"""Current time zone offsets are multiples of a quarter of an hour, so the hours of any zone consist
of whole slots."""

# An object counts at a point until its next one, but no longer than this: the slowest camera is
# sampled about every two seconds, and an object hidden for longer may not have been there.
HOLD_MS = 2_000


def hour_of(at_us: int, zone: tzinfo) -> datetime:
    """The start of the hour in `zone` that contains the time (UTC microseconds).

    When clocks are set back, an hour occurs twice, as two hours with different offsets.
    """
    local = moment_of(at_us).astimezone(zone)
    return local.replace(minute=0, second=0, microsecond=0)


def per_hour(
    counts: Iterable[tuple[int, str, str, int]], zone: tzinfo
) -> list[tuple[datetime, str, str, int]]:
    """Sum counts per quarter of an hour into hours of a time zone.

    Args:
        counts: start of the quarter (UTC microseconds), camera, class, count.
        zone: the time zone of the hours.

    Returns:
        Start of the hour, camera, class, count; sorted, without empty hours.
    """
    # Keyed by UTC: times of one zone compare by wall time alone, which would merge an hour that
    # occurs twice.
    hours: Counter[tuple[datetime, str, str]] = Counter()
    for at_us, camera, label, count in counts:
        hours[hour_of(at_us, zone).astimezone(UTC), camera, label] += count
    return [
        (start.astimezone(zone), camera, label, count)
        for (start, camera, label), count in sorted(hours.items())
    ]


class HeatMap:
    """Dwell time per cell of a grid over the frame, by foot point.

    Each point of a path counts until the track's next one, for at most HOLD_MS. The last point
    counts as long as the one before it.

    Args:
        columns, rows: size of the grid.
        from_us, until_us: only time between these counts, UTC microseconds.
    """

    def __init__(self, columns: int, rows: int, from_us: int, until_us: int) -> None:
        self._size = (columns, rows)
        self._between_us = (from_us, until_us)
        self._cells = np.zeros((rows, columns))
        self._last: dict[str, _LastPoint] = {}

    def add(self, paths: Sequence[tuple[str, int, Sequence[Sequence[int]]]]) -> None:
        """Add paths, preferably many at a time: the work is vectorized.

        Args:
            paths: track, start (UTC microseconds) and points (`pipelines.domain.PathPoint`) of each
                path. Paths of one track must be in chronological order, within this call and across
                calls.
        """
        if not paths:
            return
        names = list(dict.fromkeys(track for track, _, _ in paths))
        number = {track: index for index, track in enumerate(names)}
        lengths = [len(points) for _, _, points in paths]
        values = np.array([p for _, _, points in paths for p in points], dtype=np.int64)
        owner = np.repeat([number[track] for track, _, _ in paths], lengths)
        at_us = np.repeat([start for _, start, _ in paths], lengths) + values[:, 0] * 1_000
        foot = np.stack([(values[:, 1] + values[:, 3]) // 2, values[:, 4]], axis=1)
        before = [(number[t], *self._last[t]) for t in names if t in self._last]
        if before:
            known = np.array(before, dtype=np.int64)
            owner = np.concatenate([known[:, 0], owner])
            at_us = np.concatenate([known[:, 1], at_us])
            foot = np.concatenate([known[:, 2:4], foot])
        order = np.lexsort((at_us, owner))
        owner, at_us, foot = owner[order], at_us[order], foot[order]
        steps, follows = np.diff(at_us), owner[1:] == owner[:-1]
        self._accumulate(at_us[:-1][follows], steps[follows], foot[:-1][follows])
        for place in np.flatnonzero(np.append(~follows, True)):
            track = names[owner[place]]
            alone = place == 0 or owner[place - 1] != owner[place]
            step = self._last[track].step_us if alone and track in self._last else 0
            step = step if alone else int(steps[place - 1])
            x, y = foot[place].tolist()
            self._last[track] = _LastPoint(int(at_us[place]), x, y, step)

    def seconds(self) -> npt.NDArray[np.float64]:
        """Seconds per cell, float64 (rows, columns). Call it last; do not add paths afterwards."""
        if self._last:
            last = np.array(list(self._last.values()), dtype=np.int64)
            self._accumulate(last[:, 0], last[:, 3], last[:, 1:3])
            self._last.clear()
        return self._cells

    def _accumulate(
        self,
        at_us: npt.NDArray[np.int64],
        steps_us: npt.NDArray[np.int64],
        foot: npt.NDArray[np.int64],
    ) -> None:
        """Add dwell times to the grid.

        Args:
            at_us: int64 (n,), UTC microseconds.
            steps_us: int64 (n,), time until the track's next point.
            foot: int64 (n, 2), foot points in 1/PATH_SCALE of the frame.
        """
        from_us, until_us = self._between_us
        ends = at_us + np.minimum(steps_us, HOLD_MS * 1_000)
        spent = np.minimum(ends, until_us) - np.maximum(at_us, from_us)
        columns, rows = self._size
        column = np.minimum(foot[:, 0] * columns // PATH_SCALE, columns - 1)
        row = np.minimum(foot[:, 1] * rows // PATH_SCALE, rows - 1)
        np.add.at(self._cells, (row, column), np.maximum(spent, 0) / 1e6)


class _LastPoint(NamedTuple):
    """The latest point of a track: time, foot point in 1/PATH_SCALE of the frame, and the time
    since the previous point."""

    at_us: int
    x: int
    y: int
    step_us: int
