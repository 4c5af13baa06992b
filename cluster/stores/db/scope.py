"""Sessions that can see one tenant only, and of its cameras only those that they may, whatever
statement is written in them.

Two independent locks keep tenants apart: conditions that SQLAlchemy adds to each statement, and
PostgreSQL's row-level security (`row_security`), which also covers statements that were not
rewritten. Camera groups have the first one only.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, SQLColumnExpression, event, false, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import (
    LoaderCriteriaOption,
    ORMExecuteState,
    Session,
    SessionTransaction,
    UOWTransaction,
    with_loader_criteria,
)

from cluster.stores.db.models import (
    AlarmRow,
    AnalysedRow,
    CameraRow,
    CoverageRow,
    GroupCameraRow,
    HoldRow,
    JobRow,
    ObjectRow,
    PathRow,
    RecordingRow,
    RevealRow,
    RuleRow,
    TenantOwned,
)
from cluster.stores.db.row_security import PLATFORM_ROLE, TENANT_ROLE, TENANT_SETTING
from pipelines.errors import UnavailableError

TENANT = "tenant"
"""Key of `Session.info` that holds the tenant."""
AS_PLATFORM = "as_platform"
"""Key of `Session.info`: true where a session is bound to rows that are the platform's own."""
GROUPS = "groups"
"""Key of `Session.info` that holds ids of camera groups, whose cameras alone are there; None: all
cameras."""
EVERY_CAMERA = "every_camera"
"""Execution option of a statement that must see all cameras: to count what the tenant has."""

CAMERA_OF: dict[type[TenantOwned], SQLColumnExpression[Any]] = {
    CameraRow: CameraRow.id,
    RuleRow: RuleRow.camera,
    AlarmRow: AlarmRow.camera,
    RecordingRow: RecordingRow.camera,
    ObjectRow: ObjectRow.camera,
    PathRow: PathRow.camera,
    JobRow: JobRow.camera,
    HoldRow: HoldRow.camera,
    AnalysedRow: AnalysedRow.camera,
    RevealRow: RevealRow.camera,
    CoverageRow: CoverageRow.camera,
}
"""Whose a row is. A row without a camera is of all cameras, and so of none that is limited."""

OF_NO_CAMERA = frozenset(
    {
        "anonymisation_policies",
        "audit",
        "camera_group_members",
        "camera_groups",
        "quotas",
        "retention_policies",
        "retention_runs",
        "sessions",
        "erased",
        "erasure_items",
        "erasures",
        "storage_use",
        "users",
    }
)
"""Tables of a tenant whose rows are of no single camera: only who has all cameras gets to them
(`cluster.core.roles.LIMITABLE`), or they are the caller's own."""


class TenantSession(Session):
    """Adds `tenant = …` to every SELECT, UPDATE and DELETE, and refuses foreign new rows; in a
    session of some camera groups also `camera IN …`.

    It is a second fence: the repository's own conditions do not repeat the tenant, so that no
    query can forget it. Core INSERTs are not rewritten; their author sets the tenant.
    """


class PlatformSession(Session):
    """Sees all tenants, in the tables that the platform needs."""


# Both end with the transaction, so that a connection goes back to the pool as it came. `role` is
# what SET ROLE sets.
_ENTER = f"SELECT set_config('role', %s, true), set_config('{TENANT_SETTING}', %s, true)"
# No such role; not a member of it.
_NO_ROLE = ("22023", "42501")


def enter_role(connection: Connection, tenant: str | None) -> None:
    """Act as one tenant in PostgreSQL until the end of the transaction; None: as the platform. A
    name that is no tenant's, like the empty one, sees nothing.

    Raises:
        UnavailableError: the login may not take the role, or there is none.
    """
    if connection.dialect.name != "postgresql":
        return
    role = PLATFORM_ROLE if tenant is None else TENANT_ROLE
    try:
        connection.exec_driver_sql(_ENTER, (role, tenant or ""))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _NO_ROLE:
            raise UnavailableError(
                f"the database has no role {role}, or its login may not take it.",
                hint="Run `atalaia migrate`; else see docs/operations.md, roles of the database.",
            ) from None
        raise


@event.listens_for(TenantSession, "after_begin")
@event.listens_for(PlatformSession, "after_begin")
def _enter_role(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    platform = isinstance(session, PlatformSession) or session.info.get(AS_PLATFORM, False)
    enter_role(connection, None if platform else session.info[TENANT])


@event.listens_for(TenantSession, "do_orm_execute")
def _filter_by_tenant(state: ORMExecuteState) -> None:
    tenant = state.session.info[TENANT]
    state.statement = state.statement.options(
        with_loader_criteria(TenantOwned, lambda cls: cls.tenant == tenant, include_aliases=True)
    )
    groups = state.session.info.get(GROUPS)
    if groups is not None and not state.execution_options.get(EVERY_CAMERA):
        state.statement = state.statement.options(*_of_groups(tenant, groups))


def _of_groups(tenant: str, groups: tuple[str, ...]) -> list[LoaderCriteriaOption]:
    members = cameras_of(tenant, groups)
    return [
        with_loader_criteria(row, camera.in_(members), include_aliases=True)
        for row, camera in CAMERA_OF.items()
    ]


def cameras_of(tenant: str, groups: tuple[str, ...]) -> Select[str]:
    """SELECT of the cameras of some groups. A group that is gone has none."""
    member = GroupCameraRow.__table__.c
    own = member.group_id.in_(groups) if groups else false()
    return select(member.camera).where(member.tenant == tenant, own)


@event.listens_for(TenantSession, "before_flush")
def _refuse_foreign_rows(session: Session, _context: UOWTransaction, _instances: Any) -> None:
    for row in session.new | session.dirty:
        if isinstance(row, TenantOwned) and row.tenant != session.info[TENANT]:
            raise AssertionError(f"a row of {type(row).__name__} belongs to another tenant")
