"""A tenant's row as the lock by which its writers take turns, and tables of one row per tenant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import insert_into
from cluster.stores.db.models import Base, TenantRow
from pipelines.errors import NotFoundError


async def lock_tenant(session: AsyncSession, tenant: str, *, exclusive: bool = False) -> None:
    """Have the writers that call this take turns until the transaction ends, so that each sees what
    the one before changed. SQLite has one writer at a time anyway.

    Args:
        exclusive: also wait for those who add rows of the tenant, and let none begin.

    Raises:
        NotFoundError: there is no such tenant.
    """
    row = select(TenantRow.slug).where(TenantRow.slug == tenant)
    if await session.scalar(row.with_for_update(key_share=not exclusive)) is None:
        raise unknown_tenant(tenant)


def unknown_tenant(tenant: str) -> NotFoundError:
    return NotFoundError(f"there is no tenant {tenant}.")


async def put_only_row(
    session: AsyncSession, table: type[Base], tenant: str, values: Mapping[str, Any]
) -> None:
    """Write the one row that a tenant has in a table, in the place of what was there. Raises
    NotFoundError: there is no such tenant."""
    await lock_tenant(session, tenant)
    await session.execute(
        insert_into(session, table)
        .values(tenant=tenant, **values)
        .on_conflict_do_update(index_elements=["tenant"], set_=dict(values))
    )
