"""Time is a parameter: code takes a Clock, and only entry points pass the system's."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol


class Clock(Protocol):
    """Two readings of time, because they answer different questions."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back. For ages and time-outs."""
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
    """A clock that moves only when told, for tests and for replaying recordings.

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
        """Move both readings forward by `seconds`; a negative step is refused."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: {seconds=}")
        self._monotonic += seconds
        self._now_us += round(seconds * 1_000_000)


def rate_per_s(times_us: Iterable[int]) -> float:
    """How often something happened, from when it did (rising, microseconds); 0.0 below two times.

    Another thread may append to `times_us` meanwhile where it is a deque or a list.
    """
    times = list(times_us)
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    return round((len(times) - 1) * 1e6 / (times[-1] - times[0]), 2)
