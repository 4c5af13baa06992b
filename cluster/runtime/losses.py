"""What did not reach the records, for operators: a counter, and a sentence for health checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cluster.stores.bus.listener import Loss


class Losses:
    """Over all tenants, since the process began.

    Args:
        count: adds to a metric: of what, why, and how many.
    """

    def __init__(self, count: Callable[[str, Loss, int], None]) -> None:
        self._count = count
        self._lost: Counter[tuple[str, Loss]] = Counter()

    def add(self, what: str, loss: Loss, count: int) -> None:
        self._lost[what, loss] += count
        self._count(what, loss, count)

    def sentence(self) -> str | None:
        """Such as `not recorded: alarms 3 (trimmed)`; None where nothing was lost."""
        if not self._lost:
            return None
        parts = [f"{what} {n} ({loss})" for (what, loss), n in sorted(self._lost.items())]
        return f"not recorded: {', '.join(parts)}"
