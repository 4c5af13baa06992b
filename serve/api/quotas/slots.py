"""What tenants have in hand at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from serve.api.problems import TooManyRequestsError


class TenantSlots:
    """Counts what is in hand, of each tenant and of all. For one event loop.

    Args:
        total: of all tenants together; None: without a bound.
    """

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        self._taken: Counter[str] = Counter()

    def of(self, tenant: str) -> int:
        """How many a tenant has."""
        return self._taken[tenant]

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """One of them for the length of the block. Raises TooManyRequestsError: all are taken."""
        if self._total is not None and self._taken.total() >= self._total:
            raise TooManyRequestsError(
                "As many as this server can do at once are under way, of all its users.",
                hint="Try again in a moment.",
                retry_after_s=10,
            )
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]
