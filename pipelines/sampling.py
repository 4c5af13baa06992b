"""Selects the frames to analyse: the latest, at the configured rate, one in flight. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from enum import StrEnum

from pipelines.domain import CameraKey


class Skip(StrEnum):
    """Why a frame was not analysed. Every skipped frame is counted under one of these."""

    RATE = "rate"
    """Between two samples at `detect_fps`, as intended."""
    QUIET = "quiet"
    """Nothing moved in it, and no heartbeat was due (`attention`)."""
    BUSY = "busy"
    """Due, but the detector was still processing the previous frame."""
    UNSTAMPED = "unstamped"
    """Without a capture time."""
    OLD = "old"
    """Captured before the last analysed frame."""
    STALE = "stale"
    """Waited for the detector for too long, and was dropped there."""


JUMP_US = 10_000_000
"""A capture time this far before the last sample means that the camera's clock was re-anchored."""


# If frames arrive hardly faster than they are to be analysed, all are analysed: on a grid of almost
# their own period, some cells would contain two frames and others none.
NEAR_RATE = 1.1


def grid_phase(key: CameraKey) -> float:
    """Phase of this camera's sampling grid, 0..1, derived from its name and evenly distributed.

    With one grid for all, the frames of all cameras would reach the detector at the same moment of
    each period: four cameras at five frames a second then wait 94 ms for it, and 62 ms with
    distributed phases (median, `make bench` on two cores).
    """
    digest = hashlib.blake2b(key.room.encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


class FrameSampler:
    """Decides frame by frame, by capture time and never by arrival time, so that network jitter
    does not affect which frames are analysed.

    Time is divided into cells of one period, counted from 1970, and the first frame of each cell is
    analysed. A watcher that joins in the middle, and a job that reads the recording a year later,
    therefore analyse the same frames from their second one on.

    Args:
        fps: frames per second to analyse.
        phase: offset of the cells within a period, 0..1; see `grid_phase`.
    """

    def __init__(self, fps: float, phase: float = 0.0) -> None:
        self.skipped: Counter[Skip] = Counter()
        self._phase = phase
        self._period_us = round(1e6 / fps)
        self._offered_us: int | None = None
        self._last_us: int | None = None
        self._last_cell: int | None = None
        self._busy = False

    def set_fps(self, fps: float) -> None:
        period_us = round(1e6 / fps)
        if period_us != self._period_us:
            self._period_us = period_us
            self._last_cell = None

    def offer(self, capture_us: int) -> bool:
        """Whether to analyse the frame captured at `capture_us` (UTC microseconds); if so, call
        `done` afterwards."""
        if capture_us <= 0:
            self.skipped[Skip.UNSTAMPED] += 1
            return False
        if self._last_us is not None and capture_us <= self._last_us:
            if self._last_us - capture_us < JUMP_US:
                self.skipped[Skip.OLD] += 1
                return False
            self._offered_us = self._last_cell = None
        cell = (capture_us - round(self._phase * self._period_us)) // self._period_us
        due = cell != self._last_cell or self._come_slowly(capture_us)
        self._offered_us = capture_us
        if not due:
            self.skipped[Skip.RATE] += 1
            return False
        if self._busy:
            self.skipped[Skip.BUSY] += 1
            return False
        self._busy = True
        self._last_us, self._last_cell = capture_us, cell
        return True

    def _come_slowly(self, capture_us: int) -> bool:
        if self._offered_us is None:
            return False
        return (capture_us - self._offered_us) * NEAR_RATE >= self._period_us

    def done(self) -> None:
        """The frame in flight was processed, or failed."""
        self._busy = False
