"""What of one camera is from before it had its masks: found in order and in small batches, and
replaced by what has them.

Who asks gives `since_us`, the moment since when the camera has had all of its masks
(`TenantRecords.masked_cameras`). What is done is marked with it, so a mask that is added later
makes it due again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Uuid,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from cluster.stores.db.convert import segment_of
from cluster.stores.db.models import AlarmRow, ObjectRow, RecordingRow
from cluster.stores.db.sessions import Sessions
from pipelines.domain import MASK_DELAY_US, Segment
from pipelines.retention import EVENT_BEFORE_US


class DueAlarm(NamedTuple):
    """An alarm whose picture or clip may show what the masks hide now."""

    at_us: int
    id: UUID
    snapshot: str | None


class DueObject(NamedTuple):
    """An object whose picture may show what the masks hide now.

    Attributes:
        box: where it is in the frame: x1, y1, x2, y2, normalized.
    """

    first_seen_us: int
    last_seen_us: int
    track: str
    snapshot: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class DueCounts:
    """How much of a camera is due."""

    recordings: int
    alarms: int
    objects: int

    @property
    def total(self) -> int:
        return self.recordings + self.alarms + self.objects


class TenantRemasking:
    """Made by `Database.remasking`. Every method may raise UnavailableError.

    Args of the methods that find: `after` is the last thing of the batch before.
    """

    def __init__(self, sessions: Sessions, tenant: str) -> None:
        self._sessions = sessions
        self.tenant = tenant

    async def counts(self, camera: str, since_us: int) -> DueCounts:
        """How much of a camera is due."""
        async with self._sessions.read() as session:

            async def count(*conditions: ColumnElement[bool]) -> int:
                return await session.scalar(select(func.count()).where(*conditions)) or 0

            return DueCounts(
                await count(*_recordings(camera, since_us)),
                await count(*_alarms(camera, since_us)),
                await count(*_objects(camera, since_us)),
            )

    async def recordings(
        self, camera: str, since_us: int, limit: int, *, after_us: int | None = None
    ) -> list[Segment]:
        """Recordings that are due, oldest first. `after_us`: start of the last one."""
        statement = (
            select(RecordingRow)
            .where(*_recordings(camera, since_us))
            .order_by(RecordingRow.start_us)
            .limit(limit)
        )
        if after_us is not None:
            statement = statement.where(RecordingRow.start_us > after_us)
        async with self._sessions.read() as session:
            return [segment_of(row) for row in await session.scalars(statement)]

    async def replace(self, old: Segment, new: Segment) -> bool:
        """Put a file in the place of another one, of the same camera and start. Returns False,
        and changes nothing, where the row is no longer as it was."""
        changed: dict[str, Any] = new.model_dump(exclude={"camera", "start_us", "end_us"})
        statement = update(RecordingRow).where(
            RecordingRow.camera == old.camera,
            RecordingRow.start_us == old.start_us,
            RecordingRow.blob == old.blob,
            RecordingRow.sha256 == old.sha256,
        )
        async with self._sessions.write() as session:
            result = await session.execute(statement.values(**changed))
            assert isinstance(result, CursorResult)
            return bool(result.rowcount)

    async def painted(self, camera: str, starts_us: Collection[int]) -> set[int]:
        """Starts of those recordings into which masks were painted afterwards."""
        statement = select(RecordingRow.start_us).where(
            RecordingRow.camera == camera,
            RecordingRow.start_us.in_(starts_us),
            RecordingRow.masks_us.is_not(None),
        )
        async with self._sessions.read() as session:
            return set(await session.scalars(statement))

    async def alarms(
        self, camera: str, since_us: int, limit: int, *, after: DueAlarm | None = None
    ) -> list[DueAlarm]:
        """Alarms that are due, oldest first: those, too, whose clips may begin before."""
        statement = (
            select(AlarmRow.capture_us, AlarmRow.id, AlarmRow.snapshot)
            .where(*_alarms(camera, since_us))
            .order_by(AlarmRow.capture_us, AlarmRow.id)
            .limit(limit)
        )
        if after is not None:
            place = tuple_(AlarmRow.capture_us, AlarmRow.id)
            last = tuple_(literal(after.at_us), literal(after.id, Uuid))
            statement = statement.where(AlarmRow.capture_us >= after.at_us, place > last)
        async with self._sessions.read() as session:
            return [DueAlarm(*row) for row in await session.execute(statement)]

    async def mark_alarm(self, alarm: UUID, since_us: int) -> None:
        """What an alarm shows has the masks that its camera has had since then."""
        async with self._sessions.write() as session:
            await session.execute(
                update(AlarmRow).where(AlarmRow.id == alarm).values(masks_us=since_us)
            )

    async def objects(
        self, camera: str, since_us: int, limit: int, *, after: DueObject | None = None
    ) -> list[DueObject]:
        """Objects with pictures that are due, by first sight."""
        columns = (
            ObjectRow.first_seen_us,
            ObjectRow.last_seen_us,
            ObjectRow.track,
            ObjectRow.snapshot,
            ObjectRow.box,
        )
        statement = (
            select(*columns)
            .where(*_objects(camera, since_us))
            .order_by(ObjectRow.first_seen_us, ObjectRow.track)
            .limit(limit)
        )
        if after is not None:
            place = tuple_(ObjectRow.first_seen_us, ObjectRow.track)
            last = tuple_(literal(after.first_seen_us), literal(after.track))
            statement = statement.where(
                ObjectRow.first_seen_us >= after.first_seen_us, place > last
            )
        async with self._sessions.read() as session:
            return [
                DueObject(first, last, track, str(snapshot), _box(box))
                for first, last, track, snapshot, box in await session.execute(statement)
            ]

    async def settle_object(
        self, camera: str, due: DueObject, since_us: int, *, keep: bool
    ) -> bool:
        """No mask touches what an object's picture shows; or it has no picture any more. Returns
        False, and changes nothing, where its row is no longer as it was."""
        values = {"masks_us": since_us} if keep else {"snapshot": None}
        statement = update(ObjectRow).where(
            ObjectRow.camera == camera,
            ObjectRow.track == due.track,
            ObjectRow.snapshot == due.snapshot,
            ObjectRow.last_seen_us == due.last_seen_us,
        )
        async with self._sessions.write() as session:
            result = await session.execute(statement.values(**values))
            assert isinstance(result, CursorResult)
            return bool(result.rowcount)


def _unpainted(column: InstrumentedAttribute[int | None], since_us: int) -> ColumnElement[bool]:
    return or_(column.is_(None), column < since_us)


def _recordings(camera: str, since_us: int) -> tuple[ColumnElement[bool], ...]:
    """As `Segment.painted_us`."""
    is_live = RecordingRow.masked & (RecordingRow.start_us >= since_us + MASK_DELAY_US)
    is_painted = RecordingRow.masked & ~_unpainted(RecordingRow.masks_us, since_us)
    return RecordingRow.camera == camera, ~(is_live | is_painted)


def _alarms(camera: str, since_us: int) -> tuple[ColumnElement[bool], ...]:
    # The clip of a later one does not begin before the masks.
    until_us = since_us + MASK_DELAY_US + EVENT_BEFORE_US
    return (
        AlarmRow.camera == camera,
        AlarmRow.capture_us < until_us,
        _unpainted(AlarmRow.masks_us, since_us),
    )


def _objects(camera: str, since_us: int) -> tuple[ColumnElement[bool], ...]:
    return (
        ObjectRow.camera == camera,
        ObjectRow.snapshot.is_not(None),
        ObjectRow.first_seen_us < since_us + MASK_DELAY_US,
        _unpainted(ObjectRow.masks_us, since_us),
    )


def _box(stored: list[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = stored
    return x1, y1, x2, y2
