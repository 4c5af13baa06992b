"""Erasures on request: what was asked for, how far each is, and the receipts."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import Select, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import of_row
from cluster.stores.db.erased import item_values, open_holds
from cluster.stores.db.models import (
    AlarmRow,
    ErasureItemRow,
    ErasureRow,
    ObjectRow,
)
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant
from cluster.stores.db.types import ErasureItem, ErasureRecord
from pipelines.clock import Clock
from pipelines.erasure import (
    MAX_OBJECTS,
    STEPS,
    ErasureKind,
    ErasureState,
    ItemState,
    Target,
)
from pipelines.errors import ConflictError, InputError, NotFoundError

# Each scans the streams of its tenant.
MAX_OPEN = 20
MAX_LISTED = 500
TARGETS = "sql.objects"
"""Kind of the items that are the chosen objects."""

_SHOWN_MISSING = 5


class TenantErasures:
    """Made by `Database.erasures`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    async def ask(self, targets: Sequence[Target], reason: str, by: str) -> ErasureRecord:
        """Ask for the erasure of objects.

        Raises:
            InputError: there are none, or more than `MAX_OBJECTS`.
            NotFoundError: one of them is not known, or there is no such tenant.
            ConflictError: `MAX_OPEN` are under way, or that of the tenant is.
        """
        chosen = list(dict.fromkeys(targets))
        if not 1 <= len(chosen) <= MAX_OBJECTS:
            raise InputError(f"name 1 to {MAX_OBJECTS} objects.")
        async with self._sessions.write() as session:
            await self._check_room(session)
            await _check_known(session, chosen)
            record = self._add(session, ErasureKind.OBJECTS, len(chosen), reason, by)
            session.add_all(
                ErasureItemRow(
                    **item_values(self.tenant, record.id, ErasureItem(kind=TARGETS, key=target.key))
                )
                for target in chosen
            )
        return record

    async def ask_for_all(self, reason: str, by: str) -> ErasureRecord:
        """Ask for the erasure of the whole tenant.

        Raises:
            NotFoundError: there is no such tenant.
            ConflictError: it is under way, or a legal hold is open.
        """
        async with self._sessions.write() as session:
            await self._check_room(session, everything=True)
            if holds := await open_holds(session):
                raise ConflictError(
                    f"{len(holds)} legal holds are open, which keep what would be erased.",
                    hint="Release them first: DELETE /v1/holds/{hold}.",
                )
            return self._add(session, ErasureKind.TENANT, 0, reason, by)

    async def erasure(self, erasure: UUID) -> ErasureRecord:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            row = await session.scalar(select(ErasureRow).where(ErasureRow.id == erasure))
        if row is None:
            raise NotFoundError(f"there is no erasure {erasure}.")
        return erasure_of(row)

    async def erasures(self, limit: int = MAX_LISTED) -> list[ErasureRecord]:
        """The latest, newest first."""
        async with self._sessions.read() as session:
            rows = await session.scalars(_newest_first().limit(limit))
            return [erasure_of(row) for row in rows]

    async def _check_room(self, session: AsyncSession, *, everything: bool = False) -> None:
        await lock_tenant(session, self.tenant, exclusive=True)
        kinds = list(
            await session.scalars(
                select(ErasureRow.kind).where(ErasureRow.state != ErasureState.DONE.value)
            )
        )
        if ErasureKind.TENANT.value in kinds:
            raise ConflictError("the tenant is being erased already.")
        if not everything and len(kinds) >= MAX_OPEN:
            raise ConflictError(
                f"{len(kinds)} erasures are under way.", hint="Wait for one of them to end."
            )

    def _add(
        self, session: AsyncSession, kind: ErasureKind, objects: int, reason: str, by: str
    ) -> ErasureRecord:
        row = ErasureRow(
            tenant=self.tenant,
            id=uuid4(),
            kind=kind.value,
            objects=objects,
            reason=reason,
            created_us=self._clock.now_us(),
            created_by=by,
            state=ErasureState.QUEUED.value,
            steps=[{"step": step.value} for step in STEPS[kind]],
            counts={},
            marked_us=None,
            ended_us=None,
            receipt=None,
        )
        session.add(row)
        return erasure_of(row)


class PlatformErasures:
    """All of them, for the process that erases; and those of tenants, for the operator. Made by
    `Database.platform_erasures`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def due(self, refused_before_us: int) -> list[tuple[str, UUID]]:
        """Tenant and id of those that are under way, and of those that are done where something was
        refused since, before `refused_before_us`; oldest first."""
        late = exists().where(
            ErasureItemRow.tenant == ErasureRow.tenant,
            ErasureItemRow.erasure == ErasureRow.id,
            ErasureItemRow.state == ItemState.FOUND.value,
            ErasureItemRow.since_us <= refused_before_us,
        )
        statement = (
            select(ErasureRow.tenant, ErasureRow.id)
            .where(or_(ErasureRow.state != ErasureState.DONE.value, late))
            .order_by(ErasureRow.created_us, ErasureRow.id)
        )
        async with self._sessions.read() as session:
            return [(tenant, id) for tenant, id in await session.execute(statement)]

    async def open_count(self) -> int:
        """How many are under way."""
        statement = select(func.count()).select_from(ErasureRow)
        async with self._sessions.read() as session:
            found = statement.where(ErasureRow.state != ErasureState.DONE.value)
            return await session.scalar(found) or 0

    async def erasure(self, erasure: UUID) -> ErasureRecord:
        """That of a tenant as a whole. Raises NotFoundError."""
        statement = _of_tenants().where(ErasureRow.id == erasure)
        async with self._sessions.read() as session:
            row = await session.scalar(statement)
        if row is None:
            raise NotFoundError(f"there is no erasure {erasure} of a tenant.")
        return erasure_of(row)

    async def erasures(self, limit: int = MAX_LISTED) -> list[ErasureRecord]:
        """Those of tenants as a whole, newest first."""
        async with self._sessions.read() as session:
            rows = await session.scalars(_of_tenants().limit(limit))
            return [erasure_of(row) for row in rows]


async def _check_known(session: AsyncSession, targets: Sequence[Target]) -> None:
    """An object is known while it, or an alarm that it raised, is kept. Raises NotFoundError."""
    known = set[Target]()
    for of_camera, of_track in (
        (ObjectRow.camera, ObjectRow.track),
        (AlarmRow.camera, AlarmRow.track),
    ):
        names = [tuple(target) for target in targets if target not in known]
        if names:
            found = (
                select(of_camera, of_track).where(tuple_(of_camera, of_track).in_(names)).distinct()
            )
            rows = await session.execute(found)
            known |= {Target(camera, track) for camera, track in rows if track is not None}
    missing = [target for target in targets if target not in known]
    if missing:
        shown = ", ".join(f"{t.track} of {t.camera}" for t in missing[:_SHOWN_MISSING])
        raise NotFoundError(
            f"{len(missing)} of the objects are not known: {shown}.",
            hint="They may be erased already, or have reached their age.",
        )


def _newest_first() -> Select[ErasureRow]:
    return select(ErasureRow).order_by(ErasureRow.created_us.desc(), ErasureRow.id)


def _of_tenants() -> Select[ErasureRow]:
    return _newest_first().where(ErasureRow.kind == ErasureKind.TENANT.value)


def erasure_of(row: ErasureRow) -> ErasureRecord:
    return of_row(ErasureRecord, row)
