"""How much is under way at once, of each owner and of all. For one event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """Counts only: who asks decides what to do where there is no room.

    Args:
        total: of all owners together; None: without a bound.
        per_owner: of each of them; None: without a bound.
    """

    def __init__(self, total: int | None = None, per_owner: int | None = None) -> None:
        self._total = total
        self._per_owner = per_owner
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Of all owners together."""
        return self._taken.total()

    def of(self, owner: str) -> int:
        """How many an owner has."""
        return self._taken[owner]

    def has_room(self, owner: str) -> bool:
        """Whether there is one more for this owner."""
        of_all = self._total is None or self.taken < self._total
        return of_all and (self._per_owner is None or self._taken[owner] < self._per_owner)

    def take(self, owner: str) -> None:
        """One more, whether or not there is room."""
        self._taken[owner] += 1

    def give_back(self, owner: str) -> None:
        """One that was taken."""
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """One more for the length of the block, whether or not there is room."""
        self.take(owner)
        try:
            yield
        finally:
            self.give_back(owner)
