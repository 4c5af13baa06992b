"""Capped exponential back-off with jitter, so that a hundred cameras do not reconnect in step."""

from __future__ import annotations

import random


class Backoff:
    """Delays between attempts: uniform in (0.5..1) x min(cap, initial x 2^n).

    Never below half, so that a camera that refuses at once is not retried at once.

    Args:
        initial_s: upper bound of the first delay, seconds.
        max_s: cap of every delay, seconds.
        rng: source of jitter; pass a seeded one in tests.

    Raises:
        ValueError: not 0 < initial_s <= max_s.
    """

    def __init__(self, initial_s: float, max_s: float, rng: random.Random | None = None) -> None:
        if not 0 < initial_s <= max_s:
            raise ValueError(f"expected 0 < initial <= max, got {initial_s=} {max_s=}")
        self._initial_s = initial_s
        self._max_s = max_s
        self._rng = rng or random.Random()
        self._failures = 0

    def next_delay_s(self) -> float:
        """The delay before the next attempt, in seconds; grows until `reset`."""
        ceiling = min(self._max_s, self._initial_s * 2.0**self._failures)
        if ceiling < self._max_s:
            self._failures += 1
        return ceiling * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """An attempt succeeded: start over."""
        self._failures = 0
