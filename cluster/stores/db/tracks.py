"""What one tenant's cameras saw: objects, the paths they took, and what is counted of them.

Writing is idempotent, and live and batch write the same object to one row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    case,
    func,
    literal,
    literal_column,
    null,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import (
    analysed_of,
    analysed_values,
    insert_into,
    object_record_of,
    object_values,
    path_of,
    path_values,
)
from cluster.stores.db.cursor import OBJECT_CURSOR
from cluster.stores.db.erased import erased_among, refuse, target_of
from cluster.stores.db.merged import few_cameras, merged
from cluster.stores.db.models import AnalysedRow, ObjectRow, PathRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import unknown_tenant
from cluster.stores.db.types import ObjectPage, ObjectQuery, ObjectRecord, SlotCount
from pipelines.analytics import SLOT_US
from pipelines.clock import Clock
from pipelines.domain import PATH_CELL_US, AlarmSource, AnalysedCell, Sighting, TrackPath
from pipelines.erasure import Target
from pipelines.errors import ConflictError, InputError, NotFoundError

# Ten minutes of 80 objects in sight at once.
MAX_PATHS = 10_000

# An hour, of two sources.
MAX_CELLS = 1_440

_PATH_KEY = ("tenant", "camera", "track", "start_us")
_OBJECT_KEY = ("tenant", "camera", "track")
_ANALYSED_KEY = ("tenant", "camera", "start_us", "source")


class PathPoints(NamedTuple):
    """One path, without what need not be known to draw it."""

    track: str
    start_us: int
    points: list[list[int]]


class TenantTracks:
    """Made by `Database.tracks`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    # ------------------------------------------------------------ writing

    async def record_paths(self, paths: list[TrackPath]) -> None:
        """Keep the paths, all or none; one of the same track and start is replaced. Those of erased
        objects are left out.

        Raises:
            InputError: one belongs to another tenant.
            NotFoundError: there is no such tenant.
        """
        self._require_own(paths)
        # One statement cannot change a row twice: of paths with one name the last counts.
        merged = {(p.camera, p.track, p.start_us): p for p in paths}
        await self._upsert(PathRow, [(path, path_values(path)) for path in merged.values()])

    async def record_analysed(self, cells: list[AnalysedCell]) -> None:
        """Keep when cameras were analysed, all or none; a cell of the same start and source is
        replaced. Store the paths of the time before.

        Raises:
            InputError: one belongs to another tenant.
            NotFoundError: there is no such tenant.
        """
        self._require_own(cells)
        merged = {(c.camera, c.start_us, c.source): c for c in cells}
        await self._upsert(AnalysedRow, [(cell, analysed_values(cell)) for cell in merged.values()])

    async def record_objects(
        self, sightings: list[Sighting], source: AlarmSource = AlarmSource.LIVE
    ) -> None:
        """Store the objects, all or none. Storing one again widens its times, and replaces
        its picture, colour and box where it was seen more surely. Erased ones are left out.

        Args:
            source: of the sighting; an object that is known keeps its first source.

        Raises:
            InputError: one belongs to another tenant.
            NotFoundError: there is no such tenant.
        """
        self._require_own(sightings)
        now_us = self._clock.now_us()
        merged: dict[tuple[str, str], Sighting] = {}
        for sighting in sightings:
            key = (sighting.camera, sighting.track)
            merged[key] = _merged(merged[key], sighting) if key in merged else sighting
        await self._upsert(
            ObjectRow, [(seen, object_values(seen, source, now_us)) for seen in merged.values()]
        )

    async def erased(self, targets: Collection[Target]) -> set[Target]:
        """Those objects that were erased, and that must not be searched for again."""
        async with self._sessions.read() as session:
            return set(await erased_among(session, self.tenant, targets, writes=False))

    async def _upsert(
        self,
        table: type[PathRow | ObjectRow | AnalysedRow],
        things: Sequence[tuple[TrackPath | Sighting | AnalysedCell, dict[str, Any]]],
    ) -> None:
        if not things:
            return  # most batches have one kind; a transaction locks the records for its time
        try:
            async with self._sessions.write() as session:
                rows = await self._not_erased(session, things)
                if rows:
                    # Rows beside the statement: as a part of it they would be compiled each time,
                    # which takes longer than writing them.
                    insert = insert_into(session, table)
                    keys, changes = _CONFLICTS[table]
                    await session.execute(
                        insert.on_conflict_do_update(
                            index_elements=list(keys), set_=changes(insert)
                        ),
                        rows,
                    )
        except ConflictError:
            raise unknown_tenant(self.tenant) from None

    async def _not_erased(
        self,
        session: AsyncSession,
        things: Sequence[tuple[TrackPath | Sighting | AnalysedCell, dict[str, Any]]],
    ) -> list[dict[str, Any]]:
        """The rows of objects that were not erased; of the others, what they left is noted."""
        of_objects = [thing for thing, _ in things if not isinstance(thing, AnalysedCell)]
        targets = {target_of(thing) for thing in of_objects}
        erased = await erased_among(session, self.tenant, targets)
        if not erased:
            return [row for _, row in things]
        refused = [(erased[t], one) for one in of_objects if (t := target_of(one)) in erased]
        await refuse(session, self.tenant, refused, self._clock.now_us())
        return [
            row
            for thing, row in things
            if isinstance(thing, AnalysedCell) or target_of(thing) not in erased
        ]

    def _require_own(self, things: list[TrackPath] | list[Sighting] | list[AnalysedCell]) -> None:
        if any(thing.tenant != self.tenant for thing in things):
            raise InputError("an object or path belongs to another tenant.")

    # ------------------------------------------------------------ reading

    async def paths(
        self, camera: str, from_us: int, to_us: int, *, limit: int = MAX_PATHS
    ) -> list[TrackPath]:
        """Paths with any time of `from_us` to `to_us` (exclusive), by start and track.

        Paths are given whole: their first and last points may lie outside.
        """
        statement = (
            _paths_between(from_us, to_us)
            .where(PathRow.camera == camera)
            .order_by(PathRow.start_us, PathRow.track)
            .limit(limit)
        )
        async with self._sessions.read() as session:
            return [path_of(row) for row in await session.scalars(statement)]

    async def analysed(
        self, camera: str, from_us: int, to_us: int, *, limit: int = MAX_CELLS
    ) -> list[AnalysedCell]:
        """When a camera was analysed: the cells that begin between two times (`to_us` exclusive),
        by start."""
        statement = (
            select(AnalysedRow)
            .where(
                AnalysedRow.camera == camera,
                AnalysedRow.start_us >= from_us,
                AnalysedRow.start_us < to_us,
            )
            .order_by(AnalysedRow.start_us, AnalysedRow.source)
            .limit(limit)
        )
        async with self._sessions.read() as session:
            return [analysed_of(row) for row in await session.scalars(statement)]

    async def object(self, track: str, camera: str | None = None) -> ObjectRecord:
        """Raises NotFoundError; ConflictError: several cameras have a track of that name, and
        `camera` says not which."""
        statement = select(ObjectRow).where(ObjectRow.track == track)
        if camera is not None:
            statement = statement.where(ObjectRow.camera == camera)
        async with self._sessions.read() as session:
            rows = list(await session.scalars(statement.order_by(ObjectRow.camera).limit(2)))
        if not rows:
            raise NotFoundError(f"there is no object {track}.")
        if len(rows) > 1:
            raise ConflictError(
                f"several cameras have a track {track}.", hint="Say which: give `camera` too."
            )
        return object_record_of(rows[0])

    async def object_of_picture(self, key: str) -> ObjectRecord | None:
        """The object that has this picture; None: no object has it."""
        statement = select(ObjectRow).where(ObjectRow.snapshot == key).limit(1)
        async with self._sessions.read() as session:
            row = await session.scalar(statement)
        return None if row is None else object_record_of(row)

    async def in_sight(
        self, camera: str, from_us: int, to_us: int, *, within_us: int, limit: int
    ) -> list[Sighting]:
        """Objects of a camera that were in sight between two times, both included, oldest first.

        Args:
            within_us: objects that came into sight longer before `from_us` are left out.
        """
        statement = (
            select(ObjectRow)
            .where(
                ObjectRow.camera == camera,
                ObjectRow.first_seen_us >= from_us - within_us,
                ObjectRow.first_seen_us <= to_us,
                ObjectRow.last_seen_us >= from_us,
            )
            .order_by(ObjectRow.first_seen_us, ObjectRow.track)
            .limit(limit)
        )
        async with self._sessions.read() as session:
            rows = await session.scalars(statement)
            return [object_record_of(row).sighting for row in rows]

    async def trajectory(
        self, camera: str, track: str, *, since_us: int = 0, limit: int = MAX_PATHS
    ) -> list[TrackPath]:
        """The paths of one track, oldest first, from the one that reaches `since_us` on."""
        statement = (
            select(PathRow)
            .where(PathRow.camera == camera, PathRow.track == track, PathRow.end_us >= since_us)
            .order_by(PathRow.start_us)
            .limit(limit)
        )
        async with self._sessions.read() as session:
            return [path_of(row) for row in await session.scalars(statement)]

    async def objects(self, query: ObjectQuery) -> ObjectPage:
        """A page of objects, newest first sight first. Raises InputError (a broken cursor)."""
        async with self._sessions.read() as session:
            cameras = await few_cameras(session) if query.camera is None else None
            rows = list(await session.scalars(_object_page(query, cameras)))
        page, following = OBJECT_CURSOR.page(
            rows, query.limit, lambda last: (last.first_seen_us, last.camera, last.track)
        )
        return ObjectPage(items=[object_record_of(row) for row in page], next_cursor=following)

    async def path_points(
        self,
        camera: str,
        from_us: int,
        to_us: int,
        *,
        label: str | None = None,
        size: int = 1_000,
    ) -> AsyncIterator[list[PathPoints]]:
        """Points of the paths with any time of `from_us` to `to_us` (exclusive), by start.

        Read a page at a time, each in a transaction of its own.

        Args:
            size: paths per page.
        """
        statement = (
            _paths_between(from_us, to_us)
            .with_only_columns(PathRow.track, PathRow.start_us, PathRow.points)
            .where(PathRow.camera == camera)
            .order_by(PathRow.start_us, PathRow.track)
            .limit(size)
        )
        if label is not None:
            statement = statement.where(PathRow.label == label)
        place: tuple[int, str] | None = None
        while True:
            page = statement
            if place is not None:
                page = page.where(
                    # Said twice, because only this is what SQLite looks up in the index.
                    PathRow.start_us >= place[0],
                    tuple_(PathRow.start_us, PathRow.track)
                    > tuple_(literal(place[0]), literal(place[1])),
                )
            async with self._sessions.read() as session:
                rows = [PathPoints(*row) for row in await session.execute(page)]
            if rows:
                yield rows
            if len(rows) < size:
                return
            place = rows[-1].start_us, rows[-1].track

    async def counts(
        self,
        since_us: int,
        until_us: int,
        *,
        camera: str | None = None,
        label: str | None = None,
    ) -> list[SlotCount]:
        """How many objects came into sight, per camera, class and quarter of an hour: the finest
        that every time zone's hours are made of. Only quarters with any, oldest first.

        Args:
            since_us: first seen at or after.
            until_us: first seen before.
        """
        # Not a bound value: PostgreSQL would not see that both places mean the same.
        slot = ObjectRow.first_seen_us // literal_column(str(SLOT_US), BigInteger)
        statement = (
            select(ObjectRow.camera, ObjectRow.label, slot, func.count())
            .where(ObjectRow.first_seen_us >= since_us, ObjectRow.first_seen_us < until_us)
            .group_by(slot, ObjectRow.camera, ObjectRow.label)
            .order_by(slot, ObjectRow.camera, ObjectRow.label)
        )
        if camera is not None:
            statement = statement.where(ObjectRow.camera == camera)
        if label is not None:
            statement = statement.where(ObjectRow.label == label)
        async with self._sessions.read() as session:
            rows = (await session.execute(statement)).all()
        return [
            SlotCount(camera=camera, label=label, start_us=int(number) * SLOT_US, count=count)
            for camera, label, number, count in rows
        ]


def _paths_between(from_us: int, to_us: int) -> Select[PathRow]:
    # A path is at most one cell long, which makes of the end's condition one on the start, for
    # which there is an index.
    return select(PathRow).where(
        PathRow.start_us > from_us - PATH_CELL_US,
        PathRow.start_us < to_us,
        PathRow.end_us >= from_us,
    )


def _object_page(query: ObjectQuery, cameras: list[str] | None) -> Select[ObjectRow]:
    """As `_object_query`. `cameras`: the few that are seen; None: it does not matter."""
    if cameras is None:
        return _object_query(query)
    order = (ObjectRow.first_seen_us, ObjectRow.camera, ObjectRow.track)
    return merged(lambda camera: _object_query(query, camera), cameras, order, query.limit + 1)


def _object_query(query: ObjectQuery, camera: str | None = None) -> Select[ObjectRow]:
    """One row more than the page, so that the last page is known as such."""
    statement = select(ObjectRow)
    if (wanted := camera or query.camera) is not None:
        statement = statement.where(ObjectRow.camera == wanted)
    if query.label is not None:
        statement = statement.where(ObjectRow.label == query.label)
    if query.colour is not None:
        statement = statement.where(ObjectRow.colour == query.colour)
    if query.source is not None:
        statement = statement.where(ObjectRow.source == query.source.value)
    if query.since_us is not None:
        statement = statement.where(ObjectRow.last_seen_us >= query.since_us)
    if query.until_us is not None:
        statement = statement.where(ObjectRow.first_seen_us < query.until_us)
    if query.cursor is not None:
        first_seen_us, camera, track = OBJECT_CURSOR.decode(query.cursor)
        statement = statement.where(
            tuple_(ObjectRow.first_seen_us, ObjectRow.camera, ObjectRow.track)
            < tuple_(literal(first_seen_us), literal(camera), literal(track))
        )
    return statement.order_by(
        ObjectRow.first_seen_us.desc(), ObjectRow.camera.desc(), ObjectRow.track.desc()
    ).limit(query.limit + 1)


def _merged(known: Sighting, fresh: Sighting) -> Sighting:
    """Two sightings of one object as one; the same rule as `_object_changes`."""
    best, other = (fresh, known) if fresh.confidence >= known.confidence else (known, fresh)
    later = fresh if fresh.last_seen_us >= known.last_seen_us else known
    return best.model_copy(
        update={
            "label": later.label,
            "first_seen_us": min(known.first_seen_us, fresh.first_seen_us),
            "last_seen_us": later.last_seen_us,
            "colour": best.colour or other.colour,
            "snapshot": best.snapshot or other.snapshot,
        }
    )


def _path_changes(insert: sqlite.Insert | postgresql.Insert) -> dict[str, Any]:
    """All columns but the key and the first source."""
    return {name: insert.excluded[name] for name in ("label", "confidence", "end_us", "points")}


def _analysed_changes(insert: sqlite.Insert | postgresql.Insert) -> dict[str, Any]:
    """All columns but the key."""
    return {name: insert.excluded[name] for name in ("end_us", "times", "tracks")}


def _object_changes(insert: sqlite.Insert | postgresql.Insert) -> dict[str, Any]:
    fresh, known = insert.excluded, ObjectRow.__table__.c
    better = fresh["confidence"] >= known["confidence"]
    later = fresh["last_seen_us"] >= known["last_seen_us"]
    earlier = fresh["first_seen_us"] <= known["first_seen_us"]

    def one_of(fresh_first: ColumnElement[bool], name: str) -> ColumnElement[Any]:
        first = func.coalesce(fresh[name], known[name])
        return case((fresh_first, first), else_=func.coalesce(known[name], fresh[name]))

    return {
        "label": one_of(later, "label"),
        "last_seen_us": one_of(later, "last_seen_us"),
        "first_seen_us": one_of(earlier, "first_seen_us"),
        **{name: one_of(better, name) for name in ("confidence", "box", "colour", "snapshot")},
        "masks_us": null(),  # nobody looked at the picture that it may have got
    }


_Changes = Callable[[sqlite.Insert | postgresql.Insert], dict[str, Any]]
_CONFLICTS: dict[type[PathRow | ObjectRow | AnalysedRow], tuple[tuple[str, ...], _Changes]] = {
    PathRow: (_PATH_KEY, _path_changes),
    ObjectRow: (_OBJECT_KEY, _object_changes),
    AnalysedRow: (_ANALYSED_KEY, _analysed_changes),
}
"""By table: the key, and what changes where a row is known."""
