"""Rates: at most so many units in any window of time, counted in slices of it.

A window of `SLICES` slices is counted with the slice before it, in which it may have begun. So what
is counted is never less than what the window holds, and what is let through is never more than the
rate, whatever the order of calls. The price: units come back up to one slice late, 5 % of a window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Per window. With more of them units come back sooner, but each request reads more.
SLICES = 20

# Windows that were not touched for so many times their length hold nothing any more.
_IDLE_WINDOWS = 2


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` units in any `window_s` seconds."""

    amount: int
    window_s: float

    @property
    def slice_s(self) -> float:
        return self.window_s / SLICES


@dataclass(frozen=True, slots=True)
class Charge:
    """`cost` units of the window `key`, which has this rate. A cost of 0 only reads the window."""

    key: str
    rate: Rate
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Use:
    """What of a window is used.

    Attributes:
        used: units, with those of this charge if it was taken.
        wait_s: until the charge would fit; 0: it fits; infinite: it is more than the rate.
        reset_s: until some of what is used comes back; the window's length where nothing is.
    """

    used: int
    wait_s: float
    reset_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether all charges were taken, and the use of each window. If one does not fit, none is."""

    allowed: bool
    uses: tuple[Use, ...]


Slices = Mapping[int, int]
"""Units by slice; slices are numbered from the start of the clock."""


def slice_at(now_s: float, rate: Rate) -> int:
    """Number of the slice in which `now_s` lies."""
    return math.floor(now_s / rate.slice_s)


def counts(number: int, now: int) -> bool:
    """Whether the slice `number` counts in slice `now`. Slices ahead of it are those of another
    clock, or of this one before it was set back; what is far ahead is not to be waited for."""
    return now - SLICES <= number <= now + SLICES


def use_of(slices: Slices, charge: Charge, now_s: float) -> Use:
    """The use of a window, before the charge is taken.

    Args:
        slices: those that count.
        now_s: seconds, of the clock that numbers the slices.
    """
    rate, used = charge.rate, sum(slices.values())
    over = used + charge.cost - rate.amount

    def gone_s(number: int) -> float:
        """Until the slice no longer counts."""
        return max(0.0, (number + SLICES + 1) * rate.slice_s - now_s)

    wait_s, freed = (0.0 if over <= 0 else math.inf), 0
    for number, units in sorted(slices.items()) if 0 < over <= used else ():
        freed += units
        if freed >= over:
            wait_s = gone_s(number)
            break
    return Use(used, wait_s, gone_s(min(slices)) if used else rate.window_s)


def judge(windows: Sequence[Slices], charges: Sequence[Charge], now_s: float) -> Taken:
    """Whether charges fit, one window each; the uses are those after they are taken, if so."""
    uses = [use_of(slices, charge, now_s) for slices, charge in zip(windows, charges, strict=True)]
    allowed = all(use.wait_s == 0 for use in uses)
    if allowed:
        uses = [
            Use(use.used + charge.cost, 0.0, use.reset_s)
            for use, charge in zip(uses, charges, strict=True)
        ]
    return Taken(allowed, tuple(uses))


class MemoryRates:
    """Windows in the memory of one process, for one event loop. Memory is bounded by the keys that
    were used within the last windows."""

    def __init__(self) -> None:
        self._windows: dict[str, dict[int, int]] = {}
        self._used_until: dict[str, float] = {}
        self._next_sweep_s = 0.0

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, charges: Sequence[Charge], now_s: float) -> Taken:
        """Take all charges, or none.

        Args:
            now_s: monotonic seconds.
        """
        self._sweep(now_s, charges)
        windows = [self._counted(charge, now_s) for charge in charges]
        taken = judge(windows, charges, now_s)
        if taken.allowed:
            self._add(charges, now_s, 1)
        return taken

    def give_back(self, charges: Sequence[Charge], taken_s: float) -> None:
        """Undo a `take` of `taken_s` that was allowed."""
        self._add(charges, taken_s, -1)

    def _counted(self, charge: Charge, now_s: float) -> Slices:
        now = slice_at(now_s, charge.rate)
        window = self._windows.get(charge.key, {})
        for number in [number for number in window if not counts(number, now)]:
            del window[number]
        return window

    def _add(self, charges: Sequence[Charge], at_s: float, sign: int) -> None:
        for charge in charges:
            if charge.cost == 0:
                continue
            window = self._windows.setdefault(charge.key, {})
            number = slice_at(at_s, charge.rate)
            units = window.pop(number, 0) + sign * charge.cost
            # What is given back late may have left the window already.
            if units > 0:
                window[number] = units
            self._used_until[charge.key] = at_s + _IDLE_WINDOWS * charge.rate.window_s

    def _sweep(self, now_s: float, charges: Sequence[Charge]) -> None:
        if now_s < self._next_sweep_s or not charges:
            return
        self._next_sweep_s = now_s + max(charge.rate.window_s for charge in charges)
        for key in [key for key, until in self._used_until.items() if until <= now_s]:
            del self._used_until[key]
            self._windows.pop(key, None)
