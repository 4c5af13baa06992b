"""Moves of tenants between clusters: in which phase a tenant is, and what may follow."""

from __future__ import annotations

from enum import StrEnum

from pipelines.errors import UnavailableError


class MovePhase(StrEnum):
    """Of a tenant in one cluster; a tenant of which nobody wants a move has none."""

    DRAINING = "draining"
    """Leaving: its cameras and sign-ins have ended, what is on its way still arrives."""
    CLOSED = "closed"
    """Leaving: nothing is written any more."""
    MOVED = "moved"
    """It is the other cluster's; what is here is a copy, to be erased."""
    ARRIVING = "arriving"
    """Another cluster's still; only the move writes here."""

    @property
    def may_become(self) -> frozenset[MovePhase | None]:
        """None: the tenant lives here."""
        return _NEXT[self]

    @property
    def can_end(self) -> bool:
        """Whether the move can still be called off here."""
        return None in self.may_become


_NEXT: dict[MovePhase, frozenset[MovePhase | None]] = {
    MovePhase.DRAINING: frozenset({MovePhase.CLOSED, None}),
    MovePhase.CLOSED: frozenset({MovePhase.MOVED, None}),
    MovePhase.MOVED: frozenset(),
    MovePhase.ARRIVING: frozenset({None}),
}

SHUT = frozenset({MovePhase.CLOSED, MovePhase.MOVED, MovePhase.ARRIVING})
"""Phases in which the records take nothing for a tenant."""


class TenantMovingError(UnavailableError):
    """The tenant is on its way to another cluster."""

    code = "tenant-moving"
