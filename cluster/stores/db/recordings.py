"""The index of one tenant's recordings: which file holds which time of which camera."""

from __future__ import annotations

from sqlalchemy import delete, literal, select, tuple_

from cluster.stores.db.convert import insert_into, segment_of, segment_values
from cluster.stores.db.cursor import RECORDING_CURSOR
from cluster.stores.db.erased import was_erased
from cluster.stores.db.expiry import names_in
from cluster.stores.db.models import RecordingRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import unknown_tenant
from pipelines.clock import Clock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, NotFoundError


class TenantRecordings:
    """Made by `Database.recordings`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    async def add(self, segment: Segment) -> None:
        """Enter a segment whose file is stored; one of the same camera and start is replaced, so
        that a delivery which is repeated changes nothing.

        Raises:
            NotFoundError: there is no such tenant, or an object was erased with all recordings of
                this time.
        """
        values = segment_values(segment, self.tenant, self._clock.now_us())
        keys = ("tenant", "camera", "start_us")
        try:
            async with self._sessions.write() as session:
                if await was_erased(session, self.tenant, segment):
                    raise NotFoundError("an object was erased with all recordings of this time.")
                await session.execute(
                    insert_into(session, RecordingRow)
                    .values(values)
                    .on_conflict_do_update(
                        index_elements=list(keys),
                        set_={name: value for name, value in values.items() if name not in keys},
                    )
                )
        except ConflictError:
            raise unknown_tenant(self.tenant) from None

    async def between(
        self, camera: str | None, from_us: int, to_us: int, *, limit: int
    ) -> list[Segment]:
        """Segments that hold any of `from_us` to `to_us` (exclusive), oldest first.

        Args:
            camera: None for every camera of the tenant.
            limit: at most this many.
        """
        statement = select(RecordingRow).where(
            RecordingRow.start_us < to_us, RecordingRow.end_us > from_us
        )
        if camera is not None:
            statement = statement.where(RecordingRow.camera == camera)
        statement = statement.order_by(RecordingRow.start_us, RecordingRow.camera).limit(limit)
        async with self._sessions.read() as session:
            return [segment_of(row) for row in await session.scalars(statement)]

    async def page(
        self, camera: str | None, from_us: int, to_us: int, *, limit: int, cursor: str | None
    ) -> tuple[list[Segment], str | None]:
        """As `between`, page by page: the segments, and the cursor of the next page or None.

        Raises:
            InputError: a broken cursor.
        """
        statement = select(RecordingRow).where(
            RecordingRow.start_us < to_us, RecordingRow.end_us > from_us
        )
        if camera is not None:
            statement = statement.where(RecordingRow.camera == camera)
        if cursor is not None:
            start_us, name = RECORDING_CURSOR.decode(cursor)
            statement = statement.where(
                tuple_(RecordingRow.start_us, RecordingRow.camera)
                > tuple_(literal(start_us), literal(name))
            )
        statement = statement.order_by(RecordingRow.start_us, RecordingRow.camera).limit(limit + 1)
        async with self._sessions.read() as session:
            found = [segment_of(row) for row in await session.scalars(statement)]
        return RECORDING_CURSOR.page(found, limit, lambda last: (last.start_us, last.camera))

    async def at(self, camera: str, start_us: int) -> Segment | None:
        """The segment of a camera that starts at this moment, if there is one."""
        statement = select(RecordingRow).where(
            RecordingRow.camera == camera, RecordingRow.start_us == start_us
        )
        async with self._sessions.read() as session:
            row = await session.scalar(statement)
            return segment_of(row) if row is not None else None

    async def outermost(self, limit: int) -> list[str]:
        """Keys of the oldest and of the newest files of each camera, `limit` of both if there are
        as many; of at most as many cameras."""
        found = dict[str, None]()
        async with self._sessions.read() as session:
            cameras = (await names_in(session, RecordingRow.camera))[:limit]
            each = -(-limit // max(1, len(cameras)))
            for camera in cameras:
                # By index, other than over all cameras: a million rows would be sorted.
                own = select(RecordingRow.blob).where(RecordingRow.camera == camera).limit(each)
                for order in (RecordingRow.start_us.asc(), RecordingRow.start_us.desc()):
                    found |= dict.fromkeys(await session.scalars(own.order_by(order)))
        return list(found)

    async def blobs(self, after: tuple[str, int] | None, limit: int) -> list[tuple[str, int, str]]:
        """Camera, start and key of files, in this order.

        Args:
            after: camera and start of the last one of the batch before.
        """
        place = tuple_(RecordingRow.camera, RecordingRow.start_us)
        statement = (
            select(RecordingRow.camera, RecordingRow.start_us, RecordingRow.blob)
            .order_by(RecordingRow.camera, RecordingRow.start_us)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(place > tuple_(literal(after[0]), literal(after[1])))
        async with self._sessions.read() as session:
            rows = await session.execute(statement)
            return [(camera, start_us, blob) for camera, start_us, blob in rows]

    async def remove(self, camera: str, start_us: int) -> None:
        """Forget a segment, if it is there; its file is the caller's to delete, before this."""
        async with self._sessions.write() as session:
            await session.execute(
                delete(RecordingRow).where(
                    RecordingRow.camera == camera, RecordingRow.start_us == start_us
                )
            )
