"""Which chain of the audit log is written next, and when: the pure part of the queue's writer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cluster.core.backoff import Backoff


@dataclass(slots=True)
class _Turn:
    backoff: Backoff
    failures: int = 0
    not_before: float = -math.inf


class Turns:
    """Chains that have something to write stand in line. One that fails waits by itself, while the
    others go on.

    Where two chains have failed and none has succeeded since, it is probably the database: then
    there is one attempt per step of a common back-off, whatever the number of chains. Each of these
    attempts is for a chain that failed least, so that a healthy one does not stand behind many sick
    ones.

    Args:
        backoff: makes the back-off of a chain, and the common one.
    """

    def __init__(self, backoff: Callable[[], Backoff]) -> None:
        self._new_backoff = backoff
        self._line: dict[str, _Turn] = {}
        # Those that failed since the last success.
        self._suspects: set[str] = set()
        self._common = backoff()
        self._paused_until = -math.inf

    def __iter__(self) -> Iterator[str]:
        """Everyone in line, first to last."""
        return iter(list(self._line))

    @property
    def failing(self) -> bool:
        """Whether the last attempt of any chain in line failed."""
        return any(turn.failures for turn in self._line.values())

    def join(self, chain: str) -> None:
        """The chain has something to write. Who stands in line already keeps its place."""
        if chain not in self._line:
            self._line[chain] = _Turn(self._new_backoff())

    def leave(self, chain: str) -> None:
        """The chain has nothing left to write."""
        self._line.pop(chain, None)
        self._suspects.discard(chain)

    def next(self, now: float) -> str | None:
        """Who may be written at the monotonic time `now`; None: nobody yet."""
        if now < self._paused_until:
            return None
        due = (chain for chain, turn in self._line.items() if turn.not_before <= now)
        if self._suspects:
            return min(due, key=lambda chain: self._line[chain].failures, default=None)
        return next(due, None)

    def wait_s(self, now: float) -> float | None:
        """Seconds until somebody may be written, 0 for at once; None: nobody stands in line."""
        if not self._line:
            return None
        if now < self._paused_until:
            return self._paused_until - now
        return max(0.0, min(turn.not_before for turn in self._line.values()) - now)

    def succeeded(self, chain: str) -> None:
        """It was written: it goes to the end of the line. The database works."""
        self._line.pop(chain)
        self.join(chain)
        self._suspects.clear()
        self._common.reset()
        self._paused_until = -math.inf

    def failed(self, chain: str, now: float) -> bool:
        """It could not be written: it goes to the end of the line, and waits. Returns whether this
        was its first failure in a row."""
        turn = self._line[chain] = self._line.pop(chain)
        turn.failures += 1
        turn.not_before = now + turn.backoff.next_delay_s()
        self._suspects.add(chain)
        if len(self._suspects) > 1:
            self._paused_until = now + self._common.next_delay_s()
        return turn.failures == 1
