"""Estimates when a frame was captured. A camera's own clock is unknown; only its spacing is used.

A packet has a PTS, whose spacing is exact but whose origin and rate are meaningless (hours off,
drifting, back to 0 after a reconnect), and an arrival time, whose origin is correct but whose
spacing includes network jitter. `CaptureClock` combines the two:

    line = PTS + offset, where offset follows the minimum (arrival - PTS) of the last seconds.

The minimum, because delay is never negative: the packet with the least delay gives the best offset,
and neither a burst at connect nor a network stall moves it. The constant part of encoder and
network delay remains in the offset; it cannot be observed on this side.

The line moves towards the wall clock slowly enough to preserve the PTS spacing, with two
exceptions: a frame cannot be captured after it arrived, and a PTS that jumps is anchored anew.

Pure: arrivals are arguments. Not thread-safe: one clock per stream and thread.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

WINDOW_S = 10.0
"""Window for the minimum delay. Long enough to contain an undelayed packet on a busy network; short
enough that a clock error of 100 ppm biases the line by only 1 ms."""

SETTLE_S = 2.0
"""For this long after an anchor, corrections to earlier times apply at once: gateways send up to
one GOP in a burst at connect, and its first frame is the most delayed."""

SLEW = 0.02
"""Largest correction as a fraction of the frame spacing: 0.8 ms per frame at 25 fps. Follows clock
errors of up to 2 %; a quartz is off by 0.01 %."""

CATCH_UP_SLEW = 0.10
"""The same while the line is later than arrivals, which is impossible and is corrected faster."""

JUMP_BACK_S = 0.2
"""A PTS this far behind its predecessor was reset. Smaller steps are repeats or reordering."""

JUMP_AHEAD_S = 0.5
"""If a frame appears captured this long after its arrival, its PTS jumped ahead."""

LAG_S = 0.5
"""If every packet of a full window is later than the line by this much, the PTS stood still or the
network delay grew permanently."""

MAX_LAG_S = 10.0
"""If a packet is later than the line by this much, re-anchor at once instead of waiting for the
window."""

MIN_STEP_US = 1_000
"""Minimum distance between outputs. An RTP tick is 11 µs; below it decoders see reordering."""

WALL_STEP_US = 1_000_000
"""The system's UTC is followed by slewing, or in one step if it is ahead by this much. Never
backwards: capture times are strictly increasing."""

_MAX_PTS_S = 1e11
"""Beyond this (3000 years) a float cannot distinguish two frames; such a PTS is garbage."""


class ClockEventKind(StrEnum):
    ANCHORED = "anchored"
    JUMPED = "jumped"
    LAGGED = "lagged"
    DRIFT_CORRECTED = "drift-corrected"
    WALL_STEPPED = "wall-stepped"


@dataclass(frozen=True, slots=True)
class ClockEvent:
    """A correction of the clock, for logs and counters.

    Attributes:
        kind: what happened.
        shift_us: how much later the line now places the same PTS (for WALL_STEPPED: how far UTC
            moved ahead); 0 for the first anchor.
    """

    kind: ClockEventKind
    shift_us: int


@dataclass(frozen=True, slots=True)
class CaptureStamp:
    """Times of one frame. Both increase strictly from frame to frame.

    Attributes:
        capture_us: UTC microseconds.
        timestamp_us: monotonic microseconds for RTP, spaced like the PTS but at least MIN_STEP_US
            apart.
        events: usually empty.
    """

    capture_us: int
    timestamp_us: int
    events: tuple[ClockEvent, ...] = ()


def pts_seconds(pts: int | None, time_base: Fraction | None) -> float | None:
    """A packet's PTS in seconds; None without a PTS or a usable time base."""
    if pts is None or time_base is None or time_base <= 0:
        return None
    seconds = float(pts * Fraction(time_base))
    return seconds if abs(seconds) < _MAX_PTS_S else None


class CaptureClock:
    """Computes the capture time of each frame of one stream from its PTS and arrival.

    Keep the same clock across reconnects, so that its outputs keep increasing, and call
    `reconnected`.
    """

    def __init__(self) -> None:
        self._offset: float | None = None  # seconds: line = pts + offset
        self._window = _SlidingMinimum(WINDOW_S)
        self._settled_s = 0.0  # monotonic: until then, corrections are taken at once
        self._full_s = 0.0  # monotonic: from then on the window is as long as it gets
        self._last_pts: float | None = None
        self._last_arrival_s = -math.inf
        self._last_line_s = -math.inf
        self._last_us: int | None = None
        self._corrected_s = 0.0
        self._wall = _WallOffset()

    def stamp(self, pts_s: float | None, arrival_us: int, arrival_s: float) -> CaptureStamp:
        """Times of the frame that has just arrived. Never raises, whatever the PTS.

        Args:
            pts_s: presentation time in seconds, or None; see `pts_seconds`.
            arrival_us: UTC microseconds.
            arrival_s: monotonic seconds; a step back counts as no time passed.
        """
        arrival_s = max(arrival_s, self._last_arrival_s)
        if pts_s is not None and (not math.isfinite(pts_s) or abs(pts_s) > _MAX_PTS_S):
            pts_s = None
        event, line_s = self._line(pts_s, arrival_s)
        timestamp_us = round(line_s * 1e6)
        if self._last_us is not None:
            timestamp_us = max(timestamp_us, self._last_us + MIN_STEP_US)
        elapsed_us = 0 if self._last_us is None else timestamp_us - self._last_us
        wall_us, stepped_us = self._wall.follow(arrival_us - round(arrival_s * 1e6), elapsed_us)

        self._last_line_s = timestamp_us / 1e6
        self._last_us = timestamp_us
        self._last_arrival_s = arrival_s
        events = [event] if event else []
        if stepped_us:
            events.append(ClockEvent(ClockEventKind.WALL_STEPPED, stepped_us))
        return CaptureStamp(timestamp_us + wall_us, timestamp_us, tuple(events))

    def reconnected(self) -> None:
        """Anchor the next PTS anew, even if it appears to continue the last one."""
        self._last_pts = None

    # -- the line: monotonic seconds at which the frame was captured

    def _line(self, pts_s: float | None, arrival_s: float) -> tuple[ClockEvent | None, float]:
        if pts_s is None:
            return None, self._guess(arrival_s)
        offset, last_pts = self._offset, self._last_pts
        self._last_pts = pts_s
        if offset is None or last_pts is None:
            return self._anchor(ClockEventKind.ANCHORED, pts_s, arrival_s), arrival_s
        step = pts_s - last_pts
        late = arrival_s - (pts_s + offset)
        if step < -JUMP_BACK_S or (late < -JUMP_AHEAD_S and arrival_s >= self._settled_s):
            return self._anchor(ClockEventKind.JUMPED, pts_s, arrival_s), arrival_s
        if step <= 0:
            return None, self._guess(arrival_s)
        self._window.add(arrival_s, arrival_s - pts_s)
        ahead = self._window.minimum - offset
        if late > MAX_LAG_S or (ahead > LAG_S and arrival_s >= self._full_s):
            return self._anchor(ClockEventKind.LAGGED, pts_s, arrival_s), arrival_s
        event = self._bend(ahead, step, arrival_s)
        return event, pts_s + (self._offset if self._offset is not None else offset)

    def _guess(self, arrival_s: float) -> float:
        """For a frame without a usable PTS: spaced from the last frame like its arrival."""
        if self._last_us is None:
            return arrival_s
        return min(arrival_s, self._last_line_s + (arrival_s - self._last_arrival_s))

    def _anchor(self, kind: ClockEventKind, pts_s: float, arrival_s: float) -> ClockEvent:
        before = self._offset
        self._offset = arrival_s - pts_s
        self._window.clear()
        self._window.add(arrival_s, self._offset)
        self._settled_s = arrival_s + SETTLE_S
        self._full_s = arrival_s + WINDOW_S
        self._corrected_s = 0.0
        shift_us = 0 if before is None else round((self._offset - before) * 1e6)
        return ClockEvent(kind, shift_us)

    def _bend(self, ahead: float, step: float, arrival_s: float) -> ClockEvent | None:
        """Move the offset towards the window's minimum, which is `ahead` seconds later."""
        offset = self._offset or 0.0
        if ahead < 0 and arrival_s < self._settled_s:
            self._offset = offset + ahead
            return None
        limit = step * (SLEW if ahead > 0 else CATCH_UP_SLEW)
        change = max(-limit, min(limit, ahead))
        self._offset = offset + change
        self._corrected_s += change
        if abs(self._corrected_s) < DRIFT_REPORT_S:
            return None
        event = ClockEvent(ClockEventKind.DRIFT_CORRECTED, round(self._corrected_s * 1e6))
        self._corrected_s = 0.0
        return event


DRIFT_REPORT_S = 0.25
"""Accumulated correction that triggers an event: every 40 minutes for a clock 100 ppm off."""


class _SlidingMinimum:
    """Minimum of the values added in the last `span_s` seconds, in amortized constant time."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._items: deque[tuple[float, float]] = deque()  # times and values both grow

    def add(self, at_s: float, value: float) -> None:
        while self._items and self._items[-1][1] >= value:
            self._items.pop()
        self._items.append((at_s, value))
        while self._items[0][0] < at_s - self._span_s:
            self._items.popleft()

    @property
    def minimum(self) -> float:
        return self._items[0][1]

    def clear(self) -> None:
        self._items.clear()


class _WallOffset:
    """UTC minus monotonic time, in microseconds, smoothed so that capture times only increase."""

    def __init__(self) -> None:
        self._offset_us: int | None = None

    def follow(self, measured_us: int, elapsed_us: int) -> tuple[int, int]:
        """The offset for a frame `elapsed_us` after the last one, and the size of any step."""
        if self._offset_us is None:
            self._offset_us = measured_us
            return measured_us, 0
        error_us = measured_us - self._offset_us
        if error_us > WALL_STEP_US:
            self._offset_us = measured_us
            return measured_us, error_us
        limit_us = int(elapsed_us * SLEW)
        self._offset_us += max(-limit_us, min(limit_us, error_us))
        return self._offset_us, 0
