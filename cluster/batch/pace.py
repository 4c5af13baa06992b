"""The pace of a worker: at most so many frames per second."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipelines.clock import Clock


class Pace:
    """Spreads frames evenly. What was not used of a second is not saved up.

    Args:
        frames_per_s: above 0; infinite: no pause is made.
        sleep: blocks for so many seconds.
    """

    def __init__(
        self, frames_per_s: float, clock: Clock, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._frames_per_s = frames_per_s
        self._clock = clock
        self._sleep = sleep
        self._free_s = clock.monotonic()

    def take(self, frames: int) -> None:
        """Block until so many frames more may be analysed."""
        now_s = self._clock.monotonic()
        if self._free_s > now_s:
            self._sleep(self._free_s - now_s)
        self._free_s = max(self._free_s, now_s) + frames / self._frames_per_s
