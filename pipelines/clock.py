"""Injectable clocks: code takes a Clock, and only entry points pass SystemClock."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol


class Clock(Protocol):
    """Monotonic time for durations, and UTC for records."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never decreases. For ages and time-outs."""
        ...

    def now_us(self) -> int:
        """UTC, microseconds since 1970-01-01. For records and capture times."""
        ...


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now_us(self) -> int:
        return time.time_ns() // 1_000


class ManualClock:
    """A clock that moves only by `advance`, for tests and for replaying recordings.

    Args:
        now_us: UTC microseconds at the start.
    """

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic = 0.0

    def monotonic(self) -> float:
        return self._monotonic

    def now_us(self) -> int:
        return self._now_us

    def advance(self, seconds: float) -> None:
        """Move both times forward.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: {seconds=}")
        self._monotonic += seconds
        self._now_us += round(seconds * 1_000_000)

    def set_utc(self, seconds: float) -> None:
        """Set UTC ahead, or back where `seconds` is negative, as people and NTP do. Monotonic time
        does not notice."""
        self._now_us += round(seconds * 1_000_000)


def rate_per_s(times_us: Iterable[int]) -> float:
    """Events per second, from their ascending times in microseconds; 0.0 for fewer than two.

    If `times_us` is a deque or a list, another thread may append to it meanwhile.
    """
    times = list(times_us)
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    return round((len(times) - 1) * 1e6 / (times[-1] - times[0]), 2)
