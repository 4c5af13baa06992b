"""What many objects say together: counts per hour of a time zone, and where they stood. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt

from pipelines.domain import PATH_SCALE

SLOT_US = 15 * 60 * 1_000_000
"""Offsets of today's time zones are multiples of a quarter of an hour, so hours of any zone are
made of these."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# An object counts at a point until its next one, but no longer than this: the slowest camera looks
# every two seconds or so, and what was hidden for longer was perhaps not there.
HOLD_MS = 2_000


def hour_of(at_us: int, zone: tzinfo) -> datetime:
    """The start of the hour of `zone` that holds the time (UTC microseconds).

    Where clocks are set back an hour comes twice, as two hours of different offsets.
    """
    local = (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone)
    return local.replace(minute=0, second=0, microsecond=0)


def per_hour(
    counts: Iterable[tuple[int, str, str, int]], zone: tzinfo
) -> list[tuple[datetime, str, str, int]]:
    """Counts of quarters of an hour, added up to hours of a time zone.

    Args:
        counts: start of the quarter (UTC microseconds), camera, class, how many.
        zone: whose hours.

    Returns:
        Start of the hour, camera, class, how many; in that order, without empty ones.
    """
    # Added up in UTC: times of one zone compare by their clocks alone, which would join an hour
    # that comes twice.
    hours: Counter[tuple[datetime, str, str]] = Counter()
    for at_us, camera, label, count in counts:
        hours[hour_of(at_us, zone).astimezone(UTC), camera, label] += count
    return [
        (start.astimezone(zone), camera, label, count)
        for (start, camera, label), count in sorted(hours.items())
    ]


class HeatMap:
    """How long objects stood in each cell of a grid over the picture, by their foot points.

    Each point of a path counts until the track's next one, for HOLD_MS at most. Where nothing
    follows, the last one counts as long as the one before it.

    Args:
        columns, rows: of the grid.
        from_us, until_us: only time between these counts, UTC microseconds.
    """

    def __init__(self, columns: int, rows: int, from_us: int, until_us: int) -> None:
        self._size = (columns, rows)
        self._between_us = (from_us, until_us)
        self._cells = np.zeros((rows, columns))
        self._open: dict[str, _Way] = {}

    def add(self, track: str, start_us: int, points: Sequence[Sequence[int]]) -> None:
        """Take in a path; its points as `pipelines.domain.PathPoint`. Paths of one track come in
        the order of time."""
        values = np.asarray(points, dtype=np.int64)
        way = start_us + values[:, 0] * 1_000, (values[:, 1] + values[:, 3]) / 2, values[:, 4]
        before = self._open.get(track)
        if before is not None:
            self._spend(before, int(way[0][0]))
        self._open[track] = way

    def seconds(self) -> npt.NDArray[np.float64]:
        """(rows, columns). Nothing can be added after this."""
        while self._open:
            _, way = self._open.popitem()
            self._spend(way, None)
        return self._cells

    def _spend(self, way: _Way, next_us: int | None) -> None:
        at_us, x, y = way
        steps = np.diff(at_us)
        if next_us is not None:
            last = next_us - at_us[-1]
        else:
            last = steps[-1] if len(steps) else 0
        ends = at_us + np.clip(np.append(steps, last), 0, HOLD_MS * 1_000)
        from_us, until_us = self._between_us
        spent = np.minimum(ends, until_us) - np.maximum(at_us, from_us)
        columns, rows = self._size
        column = np.minimum((x * columns / PATH_SCALE).astype(int), columns - 1)
        row = np.minimum((y * rows / PATH_SCALE).astype(int), rows - 1)
        np.add.at(self._cells, (row, column), np.maximum(spent, 0) / 1e6)


_Way = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""Times (UTC microseconds) and foot points, x and y in 1/PATH_SCALE of the picture; each (n,)."""
