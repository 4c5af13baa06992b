"""Removes one object from the records, and finds what else shows it: all in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Delete, delete, func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import insert_into
from cluster.stores.db.erased import ALARM_PICTURES, PICTURES, VECTORS
from cluster.stores.db.expiry import EVENT_AFTER_US, EVENT_BEFORE_US
from cluster.stores.db.models import AlarmRow, ErasedRow, ObjectRow, PathRow, RecordingRow
from cluster.stores.db.types import ErasureItem
from pipelines.erasure import Target, object_digest
from pipelines.identity import object_snapshot_key
from pipelines.retention import HeldSpan, is_held

CLIPS, RECORDINGS = "blobs.clips", "blobs.recordings"
"""Kinds of items. The key of a clip's item is the id of its alarm."""


@dataclass(frozen=True, slots=True)
class Span:
    """When an object was in sight, both ends included, UTC microseconds."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Found:
    """What shows an object, besides its rows.

    Attributes:
        items: to be removed; `held`: what a legal hold keeps.
        rows: rows that were removed, by kind.
    """

    items: list[ErasureItem]
    held: list[ErasureItem]
    rows: dict[str, int]


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


async def erase_rows(
    session: AsyncSession, target: Target, span: Span, holds: Sequence[HeldSpan]
) -> Found:
    """Remove all rows of an object, and those of recordings of its time; find its files and
    those of others that show its time."""
    found = Found([], [], {})
    await _object(session, target, span, found)
    await _own_alarms(session, target, found)
    await _other_alarms(session, target.camera, span, holds, found)
    await _recordings(session, target.camera, span, holds, found)
    return found


async def _object(session: AsyncSession, target: Target, span: Span, found: Found) -> None:
    camera, track = target
    times = {"from_us": span.from_us, "to_us": span.to_us}
    picture = await session.scalar(select(ObjectRow.snapshot).where(*_of(ObjectRow, *target)))
    for key in {object_snapshot_key(camera, track), picture} - {None}:
        found.items.append(ErasureItem(kind=PICTURES, key=str(key), **times))
    found.items.append(ErasureItem(kind=VECTORS, key=target.key, **times))
    for kind, table in (("sql.objects", ObjectRow), ("sql.paths", PathRow)):
        found.rows[kind] = await _deleted(session, delete(table).where(*_of(table, camera, track)))


async def _own_alarms(session: AsyncSession, target: Target, found: Found) -> None:
    """Alarms that the object raised go with their files."""
    here = _of(AlarmRow, *target)
    rows = await session.execute(
        select(AlarmRow.id, AlarmRow.capture_us, AlarmRow.snapshot).where(*here)
    )
    for id, at_us, picture in rows:
        found.items.extend(_alarm_items(id, at_us, picture))
    found.rows["sql.alarms"] = await _deleted(session, delete(AlarmRow).where(*here))


def _alarm_items(id: UUID, at_us: int, picture: str | None) -> Iterable[ErasureItem]:
    for key in {f"alarms/{id}.jpg", picture} - {None}:
        yield ErasureItem(kind=ALARM_PICTURES, key=str(key), from_us=at_us, to_us=at_us)
    yield ErasureItem(kind=CLIPS, key=str(id), from_us=at_us, to_us=at_us)


async def _other_alarms(
    session: AsyncSession,
    camera: str,
    span: Span,
    holds: Sequence[HeldSpan],
    found: Found,
) -> None:
    """Alarms of others, whose whole picture or clip shows the object, too, stay without it."""
    rows = await session.scalars(
        select(AlarmRow).where(
            AlarmRow.camera == camera,
            AlarmRow.capture_us >= span.from_us - EVENT_AFTER_US,
            AlarmRow.capture_us <= span.to_us + EVENT_BEFORE_US,
        )
    )
    for row in rows:
        at_us = row.capture_us
        shown = span.from_us <= at_us <= span.to_us
        items = [
            item
            for item in _alarm_items(row.id, at_us, row.snapshot)
            if shown or item.kind == CLIPS
        ]
        if is_held(at_us, at_us, holds, camera):
            found.held.extend(items)
            continue
        found.items.extend(items)
        if shown and row.snapshot is not None:
            row.snapshot, row.body = None, {**row.body, "snapshot": None}


async def _recordings(
    session: AsyncSession,
    camera: str,
    span: Span,
    holds: Sequence[HeldSpan],
    found: Found,
) -> None:
    """A recording cannot be cut by object: whole files go."""
    rows = await session.execute(
        select(RecordingRow.start_us, RecordingRow.end_us, RecordingRow.blob).where(
            RecordingRow.camera == camera,
            RecordingRow.start_us <= span.to_us,
            RecordingRow.end_us > span.from_us,
        )
    )
    gone = []
    for start_us, end_us, blob in rows:
        item = ErasureItem(kind=RECORDINGS, key=blob, from_us=start_us, to_us=end_us)
        if is_held(start_us, end_us, holds, camera):
            found.held.append(item)
        else:
            found.items.append(item)
            gone.append(start_us)
    removed = 0
    for n in range(0, len(gone), 500):
        some = RecordingRow.start_us.in_(gone[n : n + 500])
        statement = delete(RecordingRow).where(RecordingRow.camera == camera, some)
        removed += await _deleted(session, statement)
    found.rows["sql.recordings"] = removed


async def _deleted(session: AsyncSession, statement: Delete) -> int:
    result = await session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)
    return result.rowcount
