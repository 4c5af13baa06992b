"""One tenant's retention policy, its legal holds, and the reports of what was removed."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import hold_of
from cluster.stores.db.erased import open_holds
from cluster.stores.db.expiry import ROWS, names_in
from cluster.stores.db.models import (
    HoldRow,
    PolicyRow,
    RecordingRow,
    RetentionRunRow,
    StorageUseRow,
)
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant, put_only_row, unknown_tenant
from cluster.stores.db.types import (
    HoldRecord,
    Kept,
    KindCount,
    RetentionRun,
    StorageUse,
    StoredPolicy,
)
from pipelines.clock import Clock
from pipelines.errors import ConflictError, InputError, NotFoundError
from pipelines.retention import HeldSpan, RetentionKind, RetentionPolicy, SpaceState

# Each run reads all of them.
MAX_OPEN_HOLDS = 1_000
MAX_HOLDS_LISTED = 2_000
# A run that removed something every ten minutes: a week. The audit log keeps the sums for good.
MAX_RUNS = 1_000
_ERROR_LENGTH = 500


class TenantRetention:
    """Made by `Database.retention`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    # ------------------------------------------------------------ policy

    async def policy(self) -> StoredPolicy | None:
        """None where the tenant never set one."""
        async with self._sessions.read() as session:
            row = await session.scalar(select(PolicyRow))
        if row is None:
            return None
        return StoredPolicy(
            policy=RetentionPolicy.model_validate(row.body),
            changed_us=row.changed_us,
            changed_by=row.changed_by,
        )

    async def set_policy(self, policy: RetentionPolicy, by: str) -> StoredPolicy:
        """Replace the policy as a whole. Raises NotFoundError: there is no such tenant."""
        stored = StoredPolicy(policy=policy, changed_us=self._clock.now_us(), changed_by=by)
        values = {
            "body": policy.model_dump(mode="json"),
            "changed_us": stored.changed_us,
            "changed_by": by,
        }
        async with self._sessions.write() as session:
            await put_only_row(session, PolicyRow, self.tenant, values)
        return stored

    # ------------------------------------------------------------ holds

    async def add_hold(
        self, span: HeldSpan, reason: str, by: str, *, alarm: UUID | None = None
    ) -> HoldRecord:
        """Hold what touches the span from now on.

        Raises:
            InputError: the span ends before it begins.
            ConflictError: there are `MAX_OPEN_HOLDS` already.
            NotFoundError: there is no such tenant.
        """
        if span.to_us < span.from_us:
            raise InputError("a hold must not end before it begins.")
        hold = HoldRecord(
            id=uuid4(),
            camera=span.camera,
            from_us=span.from_us,
            to_us=span.to_us,
            alarm=alarm,
            reason=reason,
            created_us=self._clock.now_us(),
            created_by=by,
        )
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            statement = select(func.count()).select_from(HoldRow)
            known = await session.scalar(statement.where(HoldRow.released_us.is_(None)))
            if (known or 0) >= MAX_OPEN_HOLDS:
                raise ConflictError(
                    f"{known} holds are open already.",
                    hint="Release one, or hold a longer time with one hold.",
                )
            session.add(HoldRow(tenant=self.tenant, **hold.model_dump()))
        return hold

    async def hold(self, hold: UUID) -> HoldRecord:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            return hold_of(await _hold_row(session, hold))

    async def holds(self, *, released: bool = False) -> list[HoldRecord]:
        """Open holds, newest first; with `released` also those that hold no more."""
        statement = select(HoldRow).order_by(HoldRow.created_us.desc(), HoldRow.id)
        if not released:
            statement = statement.where(HoldRow.released_us.is_(None))
        async with self._sessions.read() as session:
            rows = await session.scalars(statement.limit(MAX_HOLDS_LISTED))
            return [hold_of(row) for row in rows]

    async def held(self) -> list[HeldSpan]:
        """What the open holds keep."""
        async with self._sessions.read() as session:
            return await open_holds(session)

    async def release_hold(self, hold: UUID, by: str) -> HoldRecord:
        """The hold holds no more. Again changes nothing: the first release counts.

        Raises:
            NotFoundError: there is no such hold.
        """
        async with self._sessions.write() as session:
            await session.execute(
                update(HoldRow)
                .where(HoldRow.id == hold, HoldRow.released_us.is_(None))
                .values(released_us=self._clock.now_us(), released_by=by)
            )
            return hold_of(await _hold_row(session, hold))

    # ------------------------------------------------------------ runs

    async def add_run(self, run: RetentionRun) -> None:
        """Keep the report of a run. One that found nothing to do replaces the one before, if that
        found nothing either; the oldest go. Raises NotFoundError: there is no such tenant."""
        body = run.model_dump(mode="json")
        body["error"] = run.error[:_ERROR_LENGTH]
        try:
            async with self._sessions.write() as session:
                await self._make_room(session, run)
                session.add(RetentionRunRow(tenant=self.tenant, **body))
        except ConflictError:
            raise unknown_tenant(self.tenant) from None

    async def runs(self, limit: int = 20) -> list[RetentionRun]:
        """The latest, newest first."""
        async with self._sessions.read() as session:
            return [_run_of(row) for row in await session.scalars(_runs().limit(limit))]

    async def _make_room(self, session: AsyncSession, run: RetentionRun) -> None:
        last = await session.scalar(_runs().limit(1))
        idle = not run.counts and last is not None and not last.counts
        if last is not None and (idle or last.started_us == run.started_us):
            await _delete_runs(session, RetentionRunRow.started_us == last.started_us)
        oldest = await session.scalar(_runs().offset(MAX_RUNS - 1).limit(1))
        if oldest is not None:
            await _delete_runs(session, RetentionRunRow.started_us <= oldest.started_us)

    # ------------------------------------------------------------ what there is

    async def kept(self, kind: RetentionKind) -> Kept | None:
        """What is kept of a kind; None where its things have no rows of their own."""
        if kind not in ROWS:
            return None
        camera, moment = ROWS[kind]
        async with self._sessions.read() as session:
            count, oldest_us = None, None
            if kind is not RetentionKind.PATHS:
                count = await session.scalar(select(func.count(moment)))
            for name in await names_in(session, camera):
                # By camera, because that is what the index is ordered by.
                first = select(moment).where(camera == name).order_by(moment).limit(1)
                first_us = await session.scalar(first)
                if first_us is not None:
                    oldest_us = first_us if oldest_us is None else min(oldest_us, first_us)
        return Kept(count=count, oldest_us=oldest_us)

    async def recorded_bytes(self) -> int:
        """Size of all recordings, by their rows."""
        async with self._sessions.read() as session:
            found = await session.scalar(select(func.sum(RecordingRow.size)))
        return int(found or 0)

    async def storage(self) -> StorageUse | None:
        """What is used, as it was last measured; None: never."""
        async with self._sessions.read() as session:
            row = await session.scalar(select(StorageUseRow))
        if row is None:
            return None
        return StorageUse(
            recordings=row.recordings,
            files=row.files,
            listed_us=row.listed_us,
            measured_us=row.measured_us,
            state=SpaceState(row.state),
        )

    async def set_storage(self, use: StorageUse) -> None:
        """Keep what is used. Raises NotFoundError: there is no such tenant."""
        values = use.model_dump(mode="json")
        async with self._sessions.write() as session:
            await put_only_row(session, StorageUseRow, self.tenant, values)


async def _hold_row(session: AsyncSession, hold: UUID) -> HoldRow:
    row = await session.scalar(select(HoldRow).where(HoldRow.id == hold))
    if row is None:
        raise NotFoundError(f"there is no hold {hold}.")
    return row


def _runs() -> Select[RetentionRunRow]:
    return select(RetentionRunRow).order_by(RetentionRunRow.started_us.desc())


async def _delete_runs(session: AsyncSession, condition: ColumnElement[bool]) -> None:
    await session.execute(delete(RetentionRunRow).where(condition))


def _run_of(row: RetentionRunRow) -> RetentionRun:
    return RetentionRun(
        started_us=row.started_us,
        ended_us=row.ended_us,
        space=SpaceState(row.space),
        complete=row.complete,
        counts=tuple(KindCount.model_validate(count) for count in row.counts),
        error=row.error,
    )
