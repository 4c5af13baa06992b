"""What tenants have under way at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serve.api.problems import TooManyRequestsError
from serve.api.slots import Slots


class TenantSlots:
    """Counts what is under way, of each tenant and of all. For one event loop.

    Args:
        total: of all tenants together; None: without a bound.
    """

    def __init__(self, total: int | None = None) -> None:
        self._slots = Slots(total)

    def of(self, tenant: str) -> int:
        """How many a tenant has."""
        return self._slots.of(tenant)

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """One of them for the length of the block. Raises TooManyRequestsError: all are taken."""
        if not self._slots.has_room(tenant):
            raise TooManyRequestsError(
                "As many as this server can do at once are under way, of all its users.",
                hint="Try again in a moment.",
                retry_after_s=10,
            )
        with self._slots.hold(tenant):
            yield
