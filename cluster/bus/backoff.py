"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from `initial_s` to `max_s`; each wait is drawn from its upper half, so that many
    that failed together do not come back together."""

    def __init__(self, initial_s: float, max_s: float) -> None:
        self._initial_s = initial_s
        self._max_s = max_s
        self._next_s = initial_s

    def next_s(self) -> float:
        """Seconds to wait now; the next wait will be longer."""
        wait_s = self._next_s
        self._next_s = min(self._max_s, wait_s * 2)
        return random.uniform(wait_s / 2, wait_s)

    def reset(self) -> None:
        self._next_s = self._initial_s
