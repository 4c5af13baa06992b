"""What was erased stays out of the records: used by everything that writes what cameras saw.

An update of an erased object is not an error: a stream that is read again, a host's spool, a job or
a camera that still sees the object sends it. It is refused, and its picture and vector, which were
stored before it came here, are noted for the erasure to remove.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import hold_of, insert_into
from cluster.stores.db.models import ErasedRow, ErasureItemRow, ErasureRow, HoldRow, TenantRow
from cluster.stores.db.types import ErasureItem
from pipelines.domain import Alarm, Segment, Sighting, TrackPath
from pipelines.erasure import ErasureKind, ItemState, Target, object_digest
from pipelines.identity import alarm_snapshot_key, object_snapshot_key
from pipelines.retention import HeldSpan, is_held

# Parameters of one statement.
_CHUNK = 500

PICTURES, ALARM_PICTURES, VECTORS = "blobs.pictures", "blobs.alarm_pictures", "vectors.objects"
"""Kinds of items."""


async def erased_among(
    session: AsyncSession, tenant: str, targets: Collection[Target], *, writes: bool = True
) -> dict[Target, UUID]:
    """Those objects that were erased, with the erasure that did.

    Args:
        writes: in this transaction, of which no erasure may begin before its end.
    """
    if writes:
        await _share_tenant(session, tenant)
    digests = {object_digest(tenant, target): target for target in targets}
    names, found = list(digests), dict[Target, UUID]()
    for start in range(0, len(names), _CHUNK):
        statement = select(ErasedRow.digest, ErasedRow.erasure)
        rows = await session.execute(
            statement.where(ErasedRow.digest.in_(names[start : start + _CHUNK]))
        )
        found |= {digests[digest]: erasure for digest, erasure in rows}
    return found


async def is_leaving(session: AsyncSession, tenant: str) -> bool:
    """Whether the tenant as a whole was erased, or is being erased."""
    erasure = select(ErasureRow.id).where(
        ErasureRow.tenant == tenant, ErasureRow.kind == ErasureKind.TENANT.value
    )
    return await session.scalar(erasure.limit(1)) is not None


async def _share_tenant(session: AsyncSession, tenant: str) -> None:
    """Wait for an erasure that is writing its marks, and let none begin. SQLite has one writer at
    a time anyway."""
    if session.get_bind().dialect.name != "sqlite":
        statement = select(TenantRow.slug).where(TenantRow.slug == tenant)
        await session.execute(statement.with_for_update(read=True, key_share=True))


def target_of(thing: Alarm | Sighting | TrackPath) -> Target:
    """The object that raised an alarm, or that was seen."""
    return Target(thing.camera, thing.track)


async def refuse(
    session: AsyncSession,
    tenant: str,
    refused: Sequence[tuple[UUID, Alarm | Sighting | TrackPath]],
    now_us: int,
) -> None:
    """Note what has to be removed of updates that are not recorded.

    Args:
        refused: with the erasure of each.
    """
    items: dict[tuple[UUID, str, str], dict[str, Any]] = {}
    last_us: dict[Target, int] = {}
    for erasure, thing in refused:
        for item in _left_by(thing):
            values = item_values(tenant, erasure, item.model_copy(update={"since_us": now_us}))
            items[erasure, item.kind, item.key] = values
        target = target_of(thing)
        last_us[target] = max(last_us.get(target, 0), _end_us(thing))
    await put_items(session, list(items.values()))
    for target, at_us in last_us.items():
        digest = object_digest(tenant, target)
        await session.execute(
            update(ErasedRow)
            .where(ErasedRow.digest == digest, ErasedRow.to_us < at_us)
            .values(to_us=at_us)
        )


def _left_by(thing: Alarm | Sighting | TrackPath) -> Iterable[ErasureItem]:
    """What was stored before the update was sent, or is being stored."""
    match thing:
        case Alarm():
            key = thing.snapshot or alarm_snapshot_key(thing.id)
            yield ErasureItem(
                kind=ALARM_PICTURES, key=key, from_us=thing.capture_us, to_us=thing.capture_us
            )
        case Sighting():
            times = {"from_us": thing.first_seen_us, "to_us": thing.last_seen_us}
            picture = thing.snapshot or object_snapshot_key(thing.camera, thing.track)
            yield ErasureItem(kind=PICTURES, key=picture, **times)
            yield ErasureItem(kind=VECTORS, key=target_of(thing).key, **times)


def _end_us(thing: Alarm | Sighting | TrackPath) -> int:
    match thing:
        case Alarm():
            return thing.capture_us
        case Sighting():
            return thing.last_seen_us
        case TrackPath():
            return thing.end_us


def item_values(tenant: str, erasure: UUID, item: ErasureItem) -> dict[str, Any]:
    """The columns of an item's row."""
    return {"tenant": tenant, "erasure": erasure, **item.model_dump(mode="json")}


async def put_items(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Enter things that are to be removed. One that was removed or held is looked at again; one
    that waits to be removed waits for longer if it was refused again."""
    for start in range(0, len(rows), _CHUNK):
        insert = insert_into(session, ErasureItemRow)
        known, fresh = ErasureItemRow.__table__.c, insert.excluded
        waits = known.state == ItemState.FOUND.value
        await session.execute(
            insert.on_conflict_do_update(
                index_elements=["tenant", "erasure", "kind", "key"],
                set_={
                    "state": fresh.state,
                    "since_us": fresh.since_us,
                    # That it was there is not forgotten before it is counted.
                    "bytes": case((waits, known.bytes), else_=fresh.bytes),
                },
                where=~waits | (known.since_us < fresh.since_us),
            ),
            [dict(row) for row in rows[start : start + _CHUNK]],
        )


async def open_holds(session: AsyncSession) -> list[HeldSpan]:
    """What the tenant's open holds keep, within a transaction; newest first."""
    statement = select(HoldRow).where(HoldRow.released_us.is_(None))
    rows = await session.scalars(statement.order_by(HoldRow.created_us.desc(), HoldRow.id))
    return [hold_of(row).span for row in rows]


async def was_erased(session: AsyncSession, tenant: str, segment: Segment) -> bool:
    """Whether a recording overlaps the time of an erased object of its camera, and no hold keeps
    it."""
    await _share_tenant(session, tenant)
    found = await session.scalar(
        select(ErasedRow.digest)
        .where(
            ErasedRow.camera == segment.camera,
            ErasedRow.to_us >= segment.start_us,
            ErasedRow.from_us < segment.end_us,
        )
        .limit(1)
    )
    if found is None:
        return False
    holds = await open_holds(session)
    return not is_held(segment.start_us, segment.end_us, holds, segment.camera)
