"""Keeps one alarm of each event, whoever found it: live analysis, or several jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import alarm_record_of
from cluster.stores.db.models import AlarmRow
from cluster.stores.db.types import AlarmState
from pipelines.domain import Alarm, AlarmSource
from pipelines.identity import next_episode
from pipelines.recognition import SAME_TIME_US, SameEvents


async def alarms_between(
    session: AsyncSession, camera: str, from_us: int, to_us: int
) -> list[Alarm]:
    """Alarms of a camera from one moment to another, both included, in order of time."""
    return [alarm_record_of(row).alarm for row in await _rows(session, camera, from_us, to_us)]


async def with_free_ids(session: AsyncSession, alarms: Sequence[Alarm]) -> list[Alarm]:
    """The alarms of new events; one whose id belongs to another event gets the next one."""
    used: set[UUID] = set()
    found = []
    for alarm in alarms:
        while alarm.id in used or await _is_taken(session, alarm.id):
            alarm = next_episode(alarm)
        used.add(alarm.id)
        found.append(alarm)
    return found


async def replace_batch(session: AsyncSession, alarms: Sequence[Alarm]) -> None:
    """Remove what jobs recorded of the same events as these new alarms of live analysis. Whether
    somebody has acknowledged it is kept."""
    live = [alarm for alarm in alarms if alarm.source is AlarmSource.LIVE]
    for camera in sorted({alarm.camera for alarm in live}):
        of_camera = [alarm for alarm in live if alarm.camera == camera]
        times = [alarm.capture_us for alarm in of_camera]
        rows = await _rows(session, camera, min(times) - SAME_TIME_US, max(times) + SAME_TIME_US)
        by_id = {row.id: row for row in rows}
        found = [alarm_record_of(row).alarm for row in rows]
        batch, same = [a for a in found if a.source is AlarmSource.BATCH], SameEvents()
        for alarm in of_camera:
            replaced = same.known(alarm, batch, {})
            if replaced is not None:
                await _replace(session, by_id[replaced.id], alarm)


async def _is_taken(session: AsyncSession, id: UUID) -> bool:
    return await session.scalar(select(AlarmRow.id).where(AlarmRow.id == id)) is not None


async def _replace(session: AsyncSession, row: AlarmRow, alarm: Alarm) -> None:
    # Erasure finds the files of the one that goes by its id.
    taken: dict[str, Any] = {"replaced": row.id}
    if row.state == AlarmState.ACKNOWLEDGED.value:
        taken |= {
            "state": row.state,
            "acknowledged_by": row.acknowledged_by,
            "acknowledged_at_us": row.acknowledged_at_us,
        }
    await session.execute(update(AlarmRow).where(AlarmRow.id == alarm.id).values(taken))
    await session.execute(delete(AlarmRow).where(AlarmRow.id == row.id))


async def _rows(session: AsyncSession, camera: str, from_us: int, to_us: int) -> Sequence[AlarmRow]:
    statement = (
        select(AlarmRow)
        .where(
            AlarmRow.camera == camera,
            AlarmRow.capture_us >= from_us,
            AlarmRow.capture_us <= to_us,
        )
        .order_by(AlarmRow.capture_us, AlarmRow.id)
    )
    return (await session.scalars(statement)).all()
