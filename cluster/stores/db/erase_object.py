"""Removes one object from the records, and finds what else shows it: page by page, each within a
transaction of the caller's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Uuid,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import deleted, insert_into
from cluster.stores.db.erased import ALARM_PICTURES, PICTURES, VECTORS
from cluster.stores.db.models import AlarmRow, ErasedRow, ObjectRow, PathRow, RecordingRow
from cluster.stores.db.types import ErasureItem
from pipelines.erasure import Target, object_digest
from pipelines.identity import alarm_snapshot_key, object_snapshot_key
from pipelines.retention import EVENT_AFTER_US, EVENT_BEFORE_US, HeldSpan, is_held

# Alarms or recordings in one transaction, each with up to three files: some 20 ms.
PAGE = 200
CLIPS, RECORDINGS = "blobs.clips", "blobs.recordings"
"""Kinds of items. The key of a clip's item is the id of its alarm."""


@dataclass(frozen=True, slots=True)
class Span:
    """When an object was in sight, both ends included, UTC microseconds."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Found:
    """What shows an object.

    Attributes:
        items: to be removed; `held`: what a legal hold keeps.
        rows: rows that were removed, by kind.
    """

    items: list[ErasureItem] = field(default_factory=list)
    held: list[ErasureItem] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


class Place(NamedTuple):
    """The last thing of a page."""

    at_us: int
    id: UUID = UUID(int=0)


async def span_of(session: AsyncSession, target: Target, known: Span | None) -> Span | None:
    """The whole time of an object, from everything that is known of it; None: nothing is.

    Args:
        known: from an earlier look.
    """
    camera, track = target
    times: list[int] = [] if known is None else [known.from_us, known.to_us]
    for first, last, here in (
        (ObjectRow.first_seen_us, ObjectRow.last_seen_us, _of(ObjectRow, camera, track)),
        (PathRow.start_us, PathRow.end_us, _of(PathRow, camera, track)),
        (AlarmRow.capture_us, AlarmRow.capture_us, _of(AlarmRow, camera, track)),
    ):
        row = (await session.execute(select(func.min(first), func.max(last)).where(*here))).one()
        times += [at_us for at_us in row if at_us is not None]
    return Span(min(times), max(times)) if times else None


def _of(table: Any, camera: str, track: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.camera == camera, table.track == track


async def mark(
    session: AsyncSession, tenant: str, erasure: UUID, target: Target, span: Span
) -> Span:
    """Remember that it was erased, so that nothing of it is recorded again. Returns its time, which
    refused updates may have made longer."""
    digest = object_digest(tenant, target)
    insert = insert_into(session, ErasedRow)
    await session.execute(
        insert.values(
            tenant=tenant,
            digest=digest,
            erasure=erasure,
            camera=target.camera,
            from_us=span.from_us,
            to_us=span.to_us,
        ).on_conflict_do_nothing()
    )
    here = ErasedRow.digest == digest
    await session.execute(
        update(ErasedRow).where(here, ErasedRow.from_us > span.from_us).values(from_us=span.from_us)
    )
    await session.execute(
        update(ErasedRow).where(here, ErasedRow.to_us < span.to_us).values(to_us=span.to_us)
    )
    times = select(ErasedRow.from_us, ErasedRow.to_us).where(here)
    return Span(*(await session.execute(times)).one())


async def erase_object(session: AsyncSession, target: Target, span: Span) -> Found:
    """Remove the rows of an object itself."""
    found = Found()
    times = {"from_us": span.from_us, "to_us": span.to_us}
    picture = await session.scalar(select(ObjectRow.snapshot).where(*_of(ObjectRow, *target)))
    for key in {object_snapshot_key(*target), picture} - {None}:
        found.items.append(ErasureItem(kind=PICTURES, key=str(key), **times))
    found.items.append(ErasureItem(kind=VECTORS, key=target.key, **times))
    for kind, table in (("sql.objects", ObjectRow), ("sql.paths", PathRow)):
        found.rows[kind] = await deleted(session, delete(table).where(*_of(table, *target)))
    return found


async def erase_alarms(
    session: AsyncSession,
    target: Target,
    span: Span,
    holds: Sequence[HeldSpan],
    after: Place | None,
) -> tuple[Found, Place | None]:
    """Remove alarms that the object raised. Those of others, whose whole picture or clip shows the
    object, too, stay without it. Returns the place behind which there are more; None: there are
    not."""
    found, own = Found(), list[UUID]()
    rows = list(await session.scalars(_alarms_around(target.camera, span, after)))
    for row in rows:
        shown = span.from_us <= row.capture_us <= span.to_us
        items = list(_alarm_items(row.id, row.capture_us, row.snapshot))
        if row.replaced is not None:
            items += _alarm_items(row.replaced, row.capture_us, None)
        if row.track == target.track:
            own.append(row.id)
            found.items.extend(items)
        elif is_held(row.capture_us, row.capture_us, holds, target.camera):
            found.held.extend(item for item in items if shown or item.kind == CLIPS)
        else:
            found.items.extend(item for item in items if shown or item.kind == CLIPS)
            if shown and row.snapshot is not None:
                row.snapshot, row.body = None, {**row.body, "snapshot": None}
    await session.flush()
    found.rows["sql.alarms"] = await deleted(session, delete(AlarmRow).where(AlarmRow.id.in_(own)))
    return found, Place(rows[-1].capture_us, rows[-1].id) if len(rows) == PAGE else None


def _alarms_around(camera: str, span: Span, after: Place | None) -> Select[AlarmRow]:
    from_us = span.from_us - EVENT_AFTER_US if after is None else after.at_us
    statement = select(AlarmRow).where(
        AlarmRow.camera == camera,
        AlarmRow.capture_us >= from_us,
        AlarmRow.capture_us <= span.to_us + EVENT_BEFORE_US,
    )
    if after is not None:
        place = tuple_(AlarmRow.capture_us, AlarmRow.id)
        statement = statement.where(place > tuple_(literal(after.at_us), literal(after.id, Uuid)))
    return statement.order_by(AlarmRow.capture_us, AlarmRow.id).limit(PAGE)


def _alarm_items(id: UUID, at_us: int, picture: str | None) -> Iterable[ErasureItem]:
    for key in {alarm_snapshot_key(id), picture} - {None}:
        yield ErasureItem(kind=ALARM_PICTURES, key=str(key), from_us=at_us, to_us=at_us)
    yield ErasureItem(kind=CLIPS, key=str(id), from_us=at_us, to_us=at_us)


async def erase_recordings(
    session: AsyncSession,
    camera: str,
    span: Span,
    holds: Sequence[HeldSpan],
    after: Place | None,
) -> tuple[Found, Place | None]:
    """Remove recordings of the object's time from the index. One cannot be cut by object: whole
    files go. Returns as `erase_alarms` does."""
    found, gone = Found(), list[int]()
    statement = select(RecordingRow.start_us, RecordingRow.end_us, RecordingRow.blob).where(
        RecordingRow.camera == camera,
        RecordingRow.start_us <= span.to_us,
        RecordingRow.end_us > span.from_us,
    )
    if after is not None:
        statement = statement.where(RecordingRow.start_us > after.at_us)
    statement = statement.order_by(RecordingRow.start_us).limit(PAGE)
    rows = (await session.execute(statement)).all()
    for start_us, end_us, blob in rows:
        item = ErasureItem(kind=RECORDINGS, key=blob, from_us=start_us, to_us=end_us)
        if is_held(start_us, end_us, holds, camera):
            found.held.append(item)
        else:
            found.items.append(item)
            gone.append(start_us)
    here = RecordingRow.camera == camera, RecordingRow.start_us.in_(gone)
    found.rows["sql.recordings"] = await deleted(session, delete(RecordingRow).where(*here))
    return found, Place(rows[-1].start_us) if len(rows) == PAGE else None
