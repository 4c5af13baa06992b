"""A limit for alarms of one source that come again and again: so many at once, then one each time
that an earlier one is old enough. What is left out is counted. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Source:
    at_s: deque[float] = field(default_factory=deque)
    left_out: int = 0
    last: Hashable = None


class AlarmLimit:
    """Counts the alarms of each source. Its memory is bounded by the sources of the last window.

    Args:
        most: alarms of one source in any `window_s` seconds.
    """

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._sources: dict[Hashable, _Source] = {}
        self._next_sweep_s = 0.0

    def __len__(self) -> int:
        return len(self._sources)

    def has_room(self, source: Hashable, event: Hashable, now_s: float) -> bool:
        """Whether there may be one now. If not, `event` counts as left out, however often one asks
        for it without a pause.

        Args:
            now_s: monotonic seconds.
        """
        self._sweep(now_s)
        known = self._sources.get(source)
        if known is None:
            return True
        self._drop_old(known, now_s)
        if len(known.at_s) < self._most:
            return True
        if known.last != event:
            known.left_out, known.last = known.left_out + 1, event
        return False

    def take(self, source: Hashable, event: Hashable, now_s: float) -> int:
        """There was one. Returns how many others were left out since the one before."""
        known = self._sources.setdefault(source, _Source())
        known.at_s.append(now_s)
        left_out, known.left_out = known.left_out, 0
        if left_out and known.last == event:
            left_out -= 1  # it had to wait, and is said now
        known.last = None
        return left_out

    def _drop_old(self, known: _Source, now_s: float) -> None:
        while known.at_s and now_s - known.at_s[0] >= self._window_s:
            known.at_s.popleft()

    def _sweep(self, now_s: float) -> None:
        if now_s < self._next_sweep_s:
            return
        self._next_sweep_s = now_s + self._window_s
        for source, known in list(self._sources.items()):
            self._drop_old(known, now_s)
            if not known.at_s and not known.left_out:
                del self._sources[source]
