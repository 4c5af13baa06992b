"""What the process that erases does in SQL. Every method is one transaction, so that what was
removed and what is counted agree wherever a process is killed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, inspect, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import deleted, insert_into, of_row
from cluster.stores.db.erase_object import (
    Found,
    Place,
    Span,
    erase_alarms,
    erase_object,
    erase_recordings,
    mark,
    span_of,
)
from cluster.stores.db.erased import item_values, open_holds, put_items
from cluster.stores.db.erasures import TARGETS, TenantErasures, erasure_of
from cluster.stores.db.expiry import recording_files
from cluster.stores.db.models import (
    AlarmRow,
    AnalysedRow,
    AnonymisationRow,
    CameraRow,
    CoverageRow,
    ErasedRow,
    ErasureItemRow,
    ErasureRow,
    GroupCameraRow,
    GroupRow,
    HoldRow,
    JobRow,
    KeyRow,
    ObjectRow,
    PathRow,
    PolicyRow,
    QuotaRow,
    RecordingRow,
    RetentionRunRow,
    RevealRow,
    RuleRow,
    SessionRow,
    StorageUseRow,
    TenantOwned,
    TenantRow,
    UserRow,
)
from cluster.stores.db.tenant_row import lock_tenant
from cluster.stores.db.types import ErasedCount, ErasureItem, ErasureRecord
from pipelines.domain import JobState
from pipelines.erasure import ErasureKind, ErasureState, ItemState, Target
from pipelines.errors import ConflictError, NotFoundError
from pipelines.moving import MovePhase
from pipelines.retention import is_held

# Rows in one transaction: some 10 ms.
ROWS = 500
_DONE = ErasureState.DONE.value
_FOUND, _GONE, _HELD = ItemState.FOUND.value, ItemState.GONE.value, ItemState.HELD.value

_ACCESS: tuple[type[TenantOwned], ...] = (
    SessionRow, UserRow, RuleRow, CoverageRow, CameraRow, GroupCameraRow, GroupRow, PolicyRow,
    AnonymisationRow, RevealRow, QuotaRow,
)  # fmt: skip
"""What a tenant needs to do anything; few rows. In an order that foreign keys permit."""
_SEEN: tuple[type[TenantOwned], ...] = (
    AlarmRow, PathRow, AnalysedRow, ObjectRow, RecordingRow, JobRow, HoldRow, RetentionRunRow,
    StorageUseRow, ErasedRow,
)  # fmt: skip
TABLES = (*_ACCESS, *_SEEN)
"""Whose rows go with their tenant: all but its keys and items, which other methods remove, and its
receipt and audit log, which stay."""


class ErasureWork(TenantErasures):
    """Made by `Database.erasure_work`. Every method may raise UnavailableError."""

    async def ask_after_move(self, pod: str, by: str) -> ErasureRecord:
        """Ask for the erasure of what a tenant that lives in a pod by now left here; again without
        effect. Its legal holds are kept there.

        Raises:
            NotFoundError: there is no such tenant.
            ConflictError: it lives here.
        """
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant, exclusive=True)
            of_tenant = ErasureRow.kind == ErasureKind.TENANT.value
            if asked := await session.scalar(select(ErasureRow).where(of_tenant)):
                return erasure_of(asked)
            tenant = select(TenantRow.move_phase).where(TenantRow.slug == self.tenant)
            if await session.scalar(tenant) != MovePhase.MOVED.value:
                raise ConflictError(f"{self.tenant} was not moved.")
            await session.execute(delete(HoldRow))
            return self._add(session, ErasureKind.TENANT, 0, f"moved to pod {pod}", by)

    # ------------------------------------------------------------ how far it is

    async def save(self, record: ErasureRecord) -> None:
        """Keep state, steps and times. Raises AssertionError: the state may not follow."""
        async with self._sessions.write() as session:
            row = await _locked(session, record.id)
            _move(row, record.state)
            row.steps = [report.model_dump(mode="json") for report in record.steps]
            row.marked_us = record.marked_us

    async def finish(self, record: ErasureRecord, receipt: Mapping[str, Any]) -> None:
        """It is done. What was noted of its things goes, but for what was refused meanwhile; and of
        a tenant the last row.

        Raises:
            ConflictError: the tenant still has rows.
            AssertionError: it was not running.
        """
        async with self._sessions.write() as session:
            row = await _locked(session, record.id)
            _move(row, ErasureState.DONE)
            row.ended_us = self._clock.now_us()
            row.receipt = dict(receipt)
            row.steps = [report.model_dump(mode="json") for report in record.steps]
            items = delete(ErasureItemRow).where(ErasureItemRow.erasure == record.id)
            if record.kind is ErasureKind.TENANT:
                await session.execute(delete(ErasureItemRow))
                await session.flush()
                await session.execute(delete(TenantRow).where(TenantRow.slug == self.tenant))
            else:
                await session.execute(items.where(ErasureItemRow.state != _FOUND))

    # ------------------------------------------------------------ things

    async def put(self, erasure: UUID, items: Sequence[ErasureItem]) -> None:
        """Enter things that are to be removed; see `put_items`."""
        rows = [item_values(self.tenant, erasure, item) for item in items]
        async with self._sessions.write() as session:
            await put_items(session, rows)

    async def items(
        self,
        erasure: UUID,
        kind: str,
        *,
        state: ItemState | None = ItemState.FOUND,
        limit: int = ROWS,
        after: str = "",
        refused_before_us: int | None = None,
    ) -> list[ErasureItem]:
        """Things whose kind begins with `kind`, by key, behind `after`.

        Args:
            state: None: in any.
            refused_before_us: leave out what was refused later.
        """
        statement = (
            select(ErasureItemRow)
            .where(
                ErasureItemRow.erasure == erasure,
                ErasureItemRow.kind.startswith(kind, autoescape=True),
                ErasureItemRow.key > after,
            )
            .order_by(ErasureItemRow.key)
            .limit(limit)
        )
        if state is not None:
            statement = statement.where(ErasureItemRow.state == state.value)
        if refused_before_us is not None:
            statement = statement.where(ErasureItemRow.since_us <= refused_before_us)
        async with self._sessions.read() as session:
            return [_item_of(row) for row in await session.scalars(statement)]

    async def note_sizes(self, erasure: UUID, sizes: Mapping[tuple[str, str], int]) -> None:
        """Remember that things, by kind and key, were there before they are removed: so that they
        are counted even if this process ends in between."""
        async with self._sessions.write() as session:
            for (kind, key), size in sizes.items():
                await session.execute(
                    update(ErasureItemRow)
                    .where(*_named(erasure, kind, key), ErasureItemRow.bytes.is_(None))
                    .values(bytes=size)
                )

    async def settle(
        self, erasure: UUID, items: Sequence[ErasureItem], *, keep: bool = True
    ) -> None:
        """Things are gone. Those that were there are counted.

        Args:
            keep: remember them, so that they are looked for again.
        """
        async with self._sessions.write() as session:
            counts: dict[str, ErasedCount] = {}
            for item in items:
                row = await session.scalar(
                    select(ErasureItemRow)
                    .where(*_named(erasure, item.kind, item.key))
                    .with_for_update()
                )
                if row is None or row.state != _FOUND or row.since_us != item.since_us:
                    continue  # done already, or refused again meanwhile
                if row.bytes is not None:
                    one = ErasedCount(removed=1, bytes=row.bytes)
                    counts[row.kind] = counts.get(row.kind, ErasedCount()).plus(one)
                if keep:
                    row.state = _GONE
                else:
                    await session.delete(row)
            await _add_counts(session, erasure, counts)

    async def forget_item(self, erasure: UUID, item: ErasureItem, count: ErasedCount) -> None:
        """Something that stands for many is gone: they are counted, once."""
        async with self._sessions.write() as session:
            named = _named(erasure, item.kind, item.key)
            if await deleted(session, delete(ErasureItemRow).where(*named)):
                await _add_counts(session, erasure, {item.kind: count})

    async def hold_item(self, erasure: UUID, item: ErasureItem) -> None:
        """A legal hold keeps a thing that was to be removed."""
        async with self._sessions.write() as session:
            await _hold(session, self.tenant, erasure, [item])

    async def held(self, erasure: UUID) -> dict[str, int]:
        """How many things legal holds keep, by kind."""
        statement = (
            select(ErasureItemRow.kind, func.count())
            .where(ErasureItemRow.erasure == erasure, ErasureItemRow.state == _HELD)
            .group_by(ErasureItemRow.kind)
        )
        async with self._sessions.read() as session:
            rows = (await session.execute(statement)).all()
        return {row[0]: row[1] for row in rows}

    async def last_refusal_us(self, erasure: UUID) -> int:
        """When something was refused last that is not removed yet; 0: nothing is."""
        statement = select(func.max(ErasureItemRow.since_us)).where(
            ErasureItemRow.erasure == erasure, ErasureItemRow.state == _FOUND
        )
        async with self._sessions.read() as session:
            return await session.scalar(statement) or 0

    # ------------------------------------------------------------ of an object

    async def erase_object(self, erasure: UUID, target: Target) -> Span | None:
        """Mark an object as erased, and remove its own rows. Again: the same for what has come
        meanwhile. One that a legal hold touched before this began stays as a whole.

        Returns:
            When it was in sight; None: it stays, or nothing of it is there any more.
        """
        async with self._sessions.write() as session:
            # Those who are writing what cameras saw end first, others wait.
            await lock_tenant(session, self.tenant, exclusive=True)
            item = await session.scalar(
                select(ErasureItemRow).where(*_named(erasure, TARGETS, target.key))
            )
            if item is None:
                raise NotFoundError(f"the object {target.track} is not in this erasure.")
            begun = item.state == _GONE and item.to_us > 0
            known = Span(item.from_us, item.to_us) if begun else None
            span = await span_of(session, target, known)
            holds = await open_holds(session)
            if span is not None and not begun:
                held = is_held(span.from_us, span.to_us, holds, target.camera)
                span, item.state = (None, _HELD) if held else (span, _GONE)
            if span is None:
                # It has reached its age since it was chosen, or is held.
                item.state = _GONE if item.state == _FOUND else item.state
                return None
            span = await mark(session, self.tenant, erasure, target, span)
            item.from_us, item.to_us = span.from_us, span.to_us
            await session.flush()
            await self._keep(session, erasure, await erase_object(session, target, span))
        return span

    async def erase_alarms(
        self, erasure: UUID, target: Target, span: Span, after: Place | None
    ) -> Place | None:
        """A page of the alarms around an object; see `erase_object.erase_alarms`."""
        async with self._sessions.write() as session:
            holds = await open_holds(session)
            found, place = await erase_alarms(session, target, span, holds, after)
            await self._keep(session, erasure, found)
        return place

    async def erase_recordings(
        self, erasure: UUID, target: Target, span: Span, after: Place | None
    ) -> Place | None:
        """A page of the recordings of an object; see `erase_object.erase_recordings`."""
        async with self._sessions.write() as session:
            holds = await open_holds(session)
            found, place = await erase_recordings(session, target.camera, span, holds, after)
            await self._keep(session, erasure, found)
        return place

    async def recording_files(self, camera: str, starts_us: Collection[int]) -> set[str]:
        """The files that the rows of a camera's recordings with these starts name."""
        async with self._sessions.read() as session:
            return await recording_files(session, camera, starts_us)

    async def _keep(self, session: AsyncSession, erasure: UUID, found: Found) -> None:
        await _hold(session, self.tenant, erasure, found.held)
        await put_items(session, [item_values(self.tenant, erasure, i) for i in found.items])
        await _add_counts(session, erasure, _counted(found.rows))

    # ------------------------------------------------------------ of a tenant

    async def close(self, erasure: UUID) -> None:
        """End every key, user, session and camera, and every job. Other erasures that are under way
        are a part of this one.

        Raises:
            ConflictError: a legal hold is open.
            NotFoundError: there is no such tenant.
        """
        async with self._sessions.write() as session:
            # Those who are writing what cameras saw end first, others wait.
            await lock_tenant(session, self.tenant, exclusive=True)
            if holds := await open_holds(session):
                raise ConflictError(f"{len(holds)} legal holds are open.")
            counts = {}
            keys = delete(KeyRow).where(KeyRow.tenant == self.tenant)
            counts["sql.keys"] = await deleted(session, keys)
            for table in _ACCESS:
                counts[_kind_of(table)] = await deleted(session, delete(table))
            await session.execute(
                update(JobRow)
                .where(JobRow.state.in_([s.value for s in JobState if not s.ended]))
                .values(state=JobState.CANCELLED.value, updated_us=self._clock.now_us())
            )
            open_ones = select(ErasureRow.id).where(
                ErasureRow.id != erasure, ErasureRow.state != _DONE
            )
            others = list(await session.scalars(open_ones))
            await session.execute(delete(ErasureItemRow).where(ErasureItemRow.erasure.in_(others)))
            await session.execute(delete(ErasureRow).where(ErasureRow.id.in_(others)))
            await _add_counts(session, erasure, _counted(counts))

    async def remove_rows(self, erasure: UUID) -> bool:
        """Remove some of a tenant's rows. Returns False if none is left."""
        for table in TABLES:
            key = tuple(inspect(table).primary_key)
            some = select(*key).where(table.tenant == self.tenant).limit(ROWS)
            async with self._sessions.write() as session:
                gone = await deleted(session, delete(table).where(tuple_(*key).in_(some)))
                await _add_counts(session, erasure, _counted({_kind_of(table): gone}))
            if gone:
                return True
        return False


# ---------------------------------------------------------------- in a transaction


def _kind_of(table: type[TenantOwned]) -> str:
    return f"sql.{inspect(table).local_table.name}"


def _counted(counts: Mapping[str, int]) -> dict[str, ErasedCount]:
    return {kind: ErasedCount(removed=number) for kind, number in counts.items() if number}


async def _locked(session: AsyncSession, erasure: UUID) -> ErasureRow:
    statement = select(ErasureRow).where(ErasureRow.id == erasure).with_for_update()
    row = await session.scalar(statement)
    if row is None:
        raise NotFoundError(f"there is no erasure {erasure}.")
    return row


def _move(row: ErasureRow, to: ErasureState) -> None:
    before = ErasureState(row.state)
    if to is not before and to not in before.may_become:
        raise AssertionError(f"{before} cannot become {to}")
    row.state = to.value


async def _add_counts(
    session: AsyncSession, erasure: UUID, counts: Mapping[str, ErasedCount]
) -> None:
    if not counts:
        return
    row = await _locked(session, erasure)
    known = {kind: ErasedCount.model_validate(count) for kind, count in row.counts.items()}
    for kind, count in counts.items():
        known[kind] = known.get(kind, ErasedCount()).plus(count)
    row.counts = {kind: count.model_dump() for kind, count in sorted(known.items())}


def _named(erasure: UUID, kind: str, key: str) -> tuple[Any, ...]:
    return (
        ErasureItemRow.erasure == erasure,
        ErasureItemRow.kind == kind,
        ErasureItemRow.key == key,
    )


async def _hold(
    session: AsyncSession, tenant: str, erasure: UUID, items: Sequence[ErasureItem]
) -> None:
    """What was removed already stays removed."""
    for item in items:
        held = item.model_copy(update={"state": ItemState.HELD})
        insert = insert_into(session, ErasureItemRow).values(item_values(tenant, erasure, held))
        await session.execute(insert.on_conflict_do_nothing())
        await session.execute(
            update(ErasureItemRow)
            .where(*_named(erasure, item.kind, item.key), ErasureItemRow.state == _FOUND)
            .values(state=_HELD)
        )


def _item_of(row: ErasureItemRow) -> ErasureItem:
    return of_row(ErasureItem, row)
