"""Troubles that come and go, each of which is said once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Incident:
    since_us: int
    since_s: float
    failed_s: float
    said: bool = False


class Incidents(Generic[K]):
    """Hysteresis: an incident begins when something fails, is due when it has failed again for long
    enough, and is over when it has been well for long enough. One that flickers is one incident.

    Args:
        after_s: how long it must last before it is due; of one thing.
        over_s: how long it must be well.
    """

    def __init__(self, after_s: Callable[[K], float], over_s: float) -> None:
        self._after_s = after_s
        self._over_s = over_s
        self._open: dict[K, _Incident] = {}

    def observe(self, key: K, failing: bool, at_s: float, now_us: int) -> None:
        """How something is now.

        Args:
            at_s: monotonic seconds.
            now_us: UTC microseconds.
        """
        incident = self._open.get(key)
        if failing:
            if incident is None:
                incident = self._open[key] = _Incident(now_us, at_s, at_s)
            incident.failed_s = at_s
        elif incident is not None and at_s - incident.failed_s >= self._over_s:
            del self._open[key]

    def due(self) -> list[tuple[K, int]]:
        """Incidents that are to be said, and since when they are, UTC microseconds."""
        return [
            (key, one.since_us)
            for key, one in self._open.items()
            if not one.said and one.failed_s - one.since_s >= self._after_s(key)
        ]

    def said(self, key: K) -> None:
        """Not due any more, until it is over and begins again."""
        self._open[key].said = True

    def is_open(self, key: K) -> bool:
        return key in self._open

    def keep(self, wanted: Callable[[K], bool]) -> None:
        """Forget what is not looked at any more."""
        self._open = {key: one for key, one in self._open.items() if wanted(key)}
