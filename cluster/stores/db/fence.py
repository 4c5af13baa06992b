"""The one check that no writer of a tenant gets around while it moves to another cluster."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.models import TenantRow
from pipelines.moving import SHUT, MovePhase, TenantMovingError


async def require_open(
    session: AsyncSession, tenant: str, shut: frozenset[MovePhase] = SHUT
) -> None:
    """In the transaction of a write. Raises TenantMovingError: the tenant is in one of these
    phases."""
    phase = select(TenantRow.move_phase).where(TenantRow.slug == tenant)
    found = await session.scalar(phase)
    if found is not None and MovePhase(found) in shut:
        raise TenantMovingError(
            f"{tenant} is on its way to another cluster, or lives there.",
            hint="Wait; the operator says where it is to be reached afterwards.",
        )
