"""What of one tenant's rows may go: found in order and in small batches, and removed by name.

Nothing here decides: the caller says in which window nothing is held (`pipelines.retention`).
Files and vectors that belong to a row are the caller's to remove, before the row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Uuid, delete, exists, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from cluster.stores.db.convert import deleted
from cluster.stores.db.models import (
    AlarmRow,
    AnalysedRow,
    CameraRow,
    CoverageRow,
    ObjectRow,
    PathRow,
    RecordingRow,
)
from cluster.stores.db.sessions import Sessions
from pipelines.retention import EVENT_AFTER_US, EVENT_BEFORE_US, RetentionKind, Window

ROWS: dict[RetentionKind, tuple[InstrumentedAttribute[str], InstrumentedAttribute[int]]] = {
    RetentionKind.ALARMS: (AlarmRow.camera, AlarmRow.capture_us),
    RetentionKind.RECORDINGS: (RecordingRow.camera, RecordingRow.start_us),
    RetentionKind.OBJECTS: (ObjectRow.camera, ObjectRow.first_seen_us),
    RetentionKind.PATHS: (PathRow.camera, PathRow.start_us),
    RetentionKind.COVERAGE: (CoverageRow.camera, CoverageRow.start_us),
}
"""Whose camera, and from when: an index has both, in this order."""


class OldAlarm(NamedTuple):
    """An alarm that may go, or whose picture may."""

    at_us: int
    id: UUID
    snapshot: str | None


class OldRecording(NamedTuple):
    """A file of a recording that may go. `size`: bytes; 0 where its row holds no number."""

    start_us: int
    end_us: int
    size: int
    blob: str


class OldObject(NamedTuple):
    """An object that may go, or whose picture may."""

    first_seen_us: int
    track: str
    snapshot: str | None


class TenantExpiry:
    """Made by `Database.expiry`. Every method may raise UnavailableError.

    Args of the methods that find: `after` is the last thing of the batch before.
    """

    def __init__(self, sessions: Sessions, tenant: str) -> None:
        self._sessions = sessions
        self.tenant = tenant

    async def cameras(self, kind: RetentionKind) -> list[str]:
        """Cameras of which something of a kind is kept, also those that were removed."""
        async with self._sessions.read() as session:
            return await names_in(session, ROWS[kind][0])

    async def known_cameras(self) -> list[str]:
        """Cameras that are there, by id."""
        async with self._sessions.read() as session:
            return list(await session.scalars(select(CameraRow.id).order_by(CameraRow.id)))

    # ------------------------------------------------------------ alarms

    async def alarms(
        self,
        camera: str,
        window: Window,
        limit: int,
        *,
        after: OldAlarm | None = None,
        pictured: bool = False,
    ) -> list[OldAlarm]:
        """Alarms in a window, oldest first; `pictured`: only those with a picture."""
        statement = (
            select(AlarmRow.capture_us, AlarmRow.id, AlarmRow.snapshot)
            .where(
                AlarmRow.camera == camera,
                AlarmRow.capture_us >= window.from_us,
                AlarmRow.capture_us < window.until_us,
            )
            .order_by(AlarmRow.capture_us, AlarmRow.id)
            .limit(limit)
        )
        if pictured:
            statement = statement.where(AlarmRow.snapshot.is_not(None))
        if after is not None:
            place = tuple_(AlarmRow.capture_us, AlarmRow.id)
            last = tuple_(literal(after.at_us), literal(after.id, Uuid))
            statement = statement.where(AlarmRow.capture_us >= after.at_us, place > last)
        async with self._sessions.read() as session:
            return [OldAlarm(*row) for row in await session.execute(statement)]

    async def alarm_places(self, alarms: Sequence[UUID]) -> dict[UUID, tuple[str, int]]:
        """Camera and capture time of those alarms that are kept."""
        statement = select(AlarmRow.id, AlarmRow.camera, AlarmRow.capture_us)
        async with self._sessions.read() as session:
            rows = await session.execute(statement.where(AlarmRow.id.in_(alarms)))
            return {id: (camera, capture_us) for id, camera, capture_us in rows}

    async def remove_alarms(self, alarms: Sequence[UUID]) -> None:
        async with self._sessions.write() as session:
            await session.execute(delete(AlarmRow).where(AlarmRow.id.in_(alarms)))

    async def forget_alarm_pictures(self, alarms: Sequence[UUID]) -> None:
        """The alarms stay, without a picture."""
        async with self._sessions.write() as session:
            for row in await session.scalars(select(AlarmRow).where(AlarmRow.id.in_(alarms))):
                row.snapshot = None
                row.body = {**row.body, "snapshot": None}

    # ------------------------------------------------------------ recordings

    async def recordings(
        self,
        camera: str,
        window: Window,
        limit: int,
        *,
        after: OldRecording | None = None,
        with_alarm: bool | None = None,
    ) -> list[OldRecording]:
        """Files in a window, oldest first.

        Args:
            with_alarm: only those near an alarm of their camera, or only the others; None: both.
        """
        statement = (
            select(RecordingRow.start_us, RecordingRow.end_us, RecordingRow.size, RecordingRow.blob)
            .where(
                RecordingRow.camera == camera,
                RecordingRow.start_us >= window.from_us,
                # Redundant, but the key is ordered by the start.
                RecordingRow.start_us < window.until_us,
                RecordingRow.end_us < window.until_us,
            )
            .order_by(RecordingRow.start_us)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(RecordingRow.start_us > after.start_us)
        if with_alarm is not None:
            near = exists().where(
                AlarmRow.tenant == RecordingRow.tenant,
                AlarmRow.camera == RecordingRow.camera,
                AlarmRow.capture_us >= RecordingRow.start_us - EVENT_AFTER_US,
                AlarmRow.capture_us <= RecordingRow.end_us + EVENT_BEFORE_US,
            )
            statement = statement.where(near if with_alarm else ~near)
        async with self._sessions.read() as session:
            return [
                OldRecording(start_us, end_us, _number(size), blob)
                for start_us, end_us, size, blob in await session.execute(statement)
            ]

    async def recording_files(self, camera: str, starts_us: Collection[int]) -> set[str]:
        """The files that the rows of a camera's recordings with these starts name."""
        async with self._sessions.read() as session:
            return await recording_files(session, camera, starts_us)

    async def remove_recordings(self, camera: str, starts_us: Sequence[int]) -> None:
        async with self._sessions.write() as session:
            await session.execute(
                delete(RecordingRow).where(
                    RecordingRow.camera == camera, RecordingRow.start_us.in_(starts_us)
                )
            )

    # ------------------------------------------------------------ objects and paths

    async def objects(
        self,
        camera: str,
        window: Window,
        limit: int,
        *,
        after: OldObject | None = None,
        pictured: bool = False,
    ) -> list[OldObject]:
        """Objects in a window, by first sight; `pictured`: only those with a picture."""
        statement = (
            select(ObjectRow.first_seen_us, ObjectRow.track, ObjectRow.snapshot)
            .where(
                ObjectRow.camera == camera,
                ObjectRow.first_seen_us >= window.from_us,
                ObjectRow.first_seen_us < window.until_us,
                ObjectRow.last_seen_us < window.until_us,
            )
            .order_by(ObjectRow.first_seen_us, ObjectRow.track)
            .limit(limit)
        )
        if pictured:
            statement = statement.where(ObjectRow.snapshot.is_not(None))
        if after is not None:
            place = tuple_(ObjectRow.first_seen_us, ObjectRow.track)
            last = tuple_(literal(after.first_seen_us), literal(after.track))
            statement = statement.where(
                ObjectRow.first_seen_us >= after.first_seen_us, place > last
            )
        async with self._sessions.read() as session:
            return [OldObject(*row) for row in await session.execute(statement)]

    async def known_pictures(self, camera: str, keys: Sequence[str]) -> set[str]:
        """Those of the given keys that an object of a camera names as its picture."""
        statement = select(ObjectRow.snapshot).where(
            ObjectRow.camera == camera, ObjectRow.snapshot.in_(keys)
        )
        async with self._sessions.read() as session:
            return {key for key in await session.scalars(statement) if key is not None}

    async def remove_objects(self, camera: str, tracks: Sequence[str]) -> None:
        async with self._sessions.write() as session:
            await session.execute(
                delete(ObjectRow).where(ObjectRow.camera == camera, ObjectRow.track.in_(tracks))
            )

    async def forget_object_pictures(self, camera: str, tracks: Sequence[str]) -> None:
        """The objects stay, without a picture."""
        async with self._sessions.write() as session:
            await session.execute(
                update(ObjectRow)
                .where(ObjectRow.camera == camera, ObjectRow.track.in_(tracks))
                .values(snapshot=None)
            )

    async def remove_paths(self, camera: str, window: Window, limit: int) -> int:
        """Remove paths in a window, oldest first: about `limit`, because those that begin at the
        same time go together. Returns how many went; 0: none is left."""
        return await self._remove_oldest(PathRow, camera, window, limit)

    async def analysed_cameras(self) -> list[str]:
        """Cameras of which the times of analysis are kept."""
        async with self._sessions.read() as session:
            return await names_in(session, AnalysedRow.camera)

    async def remove_analysed(self, camera: str, window: Window, limit: int) -> int:
        """Remove the times of analysis in a window, oldest first; as `remove_paths`."""
        return await self._remove_oldest(AnalysedRow, camera, window, limit)

    async def remove_coverage(self, camera: str, window: Window, limit: int) -> int:
        """Remove what is kept of coverage in a window, oldest first; as `remove_paths`."""
        return await self._remove_oldest(CoverageRow, camera, window, limit)

    async def _remove_oldest(
        self,
        table: type[PathRow | AnalysedRow | CoverageRow],
        camera: str,
        window: Window,
        limit: int,
    ) -> int:
        inside = (
            table.camera == camera,
            table.start_us >= window.from_us,
            table.start_us < window.until_us,
            table.end_us < window.until_us,
        )
        starts = select(table.start_us).where(*inside).order_by(table.start_us)
        async with self._sessions.write() as session:
            last = await session.scalar(starts.offset(limit - 1).limit(1))
            statement = delete(table).where(*inside)
            if last is not None:
                statement = statement.where(table.start_us <= last)
            return await deleted(session, statement)


async def recording_files(
    session: AsyncSession, camera: str, starts_us: Collection[int]
) -> set[str]:
    """The files that the rows of a camera's recordings with these starts name."""
    statement = select(RecordingRow.blob).where(
        RecordingRow.camera == camera, RecordingRow.start_us.in_(starts_us)
    )
    return set(await session.scalars(statement))


async def names_in(session: AsyncSession, column: InstrumentedAttribute[str]) -> list[str]:
    """The different names in a column that an index begins with, in order. One look-up in the
    index for each: DISTINCT would read all of it."""
    found = list[str]()
    last: str | None = ""
    while last is not None:
        last = await session.scalar(select(column).where(column > last).order_by(column).limit(1))
        found += [last] if last is not None else []
    return found


def _number(value: object) -> int:
    """SQLite takes any text for a number, if somebody else writes it."""
    return value if isinstance(value, int) else 0
