"""Sessions that can see one tenant only, whatever statement is written in them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, with_loader_criteria

from cluster.stores.db.models import TenantOwned

TENANT = "tenant"
"""Key of `Session.info` that holds the tenant."""


class TenantSession(Session):
    """Adds `tenant = …` to every SELECT, UPDATE and DELETE, and refuses foreign new rows.

    It is a second fence: the repository's own conditions do not repeat the tenant, so that no
    query can forget it. Core INSERTs are not rewritten; their author sets the tenant.
    """


@event.listens_for(TenantSession, "do_orm_execute")
def _filter_by_tenant(state: ORMExecuteState) -> None:
    tenant = state.session.info[TENANT]
    state.statement = state.statement.options(
        with_loader_criteria(TenantOwned, lambda cls: cls.tenant == tenant, include_aliases=True)
    )


@event.listens_for(TenantSession, "before_flush")
def _refuse_foreign_rows(session: Session, _context: UOWTransaction, _instances: Any) -> None:
    for row in session.new | session.dirty:
        if isinstance(row, TenantOwned) and row.tenant != session.info[TENANT]:
            raise AssertionError(f"a row of {type(row).__name__} belongs to another tenant")
