"""How long the cameras of one tenant were analysed and blind, by quarter of an hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import deleted, insert_into
from cluster.stores.db.cursor import RECORDING_CURSOR
from cluster.stores.db.models import CameraRow, CoverageRow
from cluster.stores.db.sessions import Sessions
from pipelines.errors import ConflictError
from pipelines.ledger import SLOT_US, Cover, Stretch, bounded, by_slot, joined, merge, merge_all

# In one transaction.
_SLOTS = 500
# Rows of one look for gaps, and of all looks for one page: a row has 240 stretches at most, and
# usually one.
_ROWS, _MOST_ROWS = 200, 2_000
# Of one statement: they are named in it, so that the primary key leads to their rows of that time.
# Without them SQLite reads those of all cameras: 1,000 with a week in halves took 7 s, not 1 s.
_CAMERAS = 64

_T = TypeVar("_T")
_Key = tuple[str, int]
"""A camera, and the start of a slot."""
Told = Mapping[str, Iterable[Stretch]]
"""What is to be kept, by camera."""


class CoverTotal(NamedTuple):
    """How long one thing held of a camera."""

    camera: str
    cover: Cover
    total_ms: int


class Gap(NamedTuple):
    """A time in which a camera was blind; UTC microseconds."""

    camera: str
    start_us: int
    end_us: int
    cover: Cover


@dataclass(frozen=True, slots=True)
class GapPage:
    """Some gaps, and where the next page begins; None: there is none."""

    items: list[Gap]
    next_cursor: str | None


class TenantCoverage:
    """Made by `Database.coverage`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str) -> None:
        self._sessions = sessions
        self.tenant = tenant

    # ------------------------------------------------------------ writing

    async def add(self, told: Told) -> None:
        """Merge statements into what is kept. A repeated one changes nothing; what is said of a
        camera that is not there is left out."""
        fresh = [
            ((camera, slot_us), tuple(stretches))
            for camera in sorted(told)
            for slot_us, stretches in by_slot(merge_all(told[camera])).items()
        ]
        for first in range(0, len(fresh), _SLOTS):
            some = dict(fresh[first : first + _SLOTS])
            try:
                await self._add(some)
            except ConflictError:
                # A camera was removed meanwhile: without it the second attempt succeeds.
                await self._add(some)

    async def _add(self, fresh: Mapping[_Key, Sequence[Stretch]]) -> None:
        async with self._sessions.write() as session:
            cameras = {camera for camera, _ in fresh}
            present = set(
                await session.scalars(select(CameraRow.id).where(CameraRow.id.in_(cameras)))
            )
            keys = [key for key in fresh if key[0] in present]
            known = await self._known(session, keys)
            rows = list[dict[str, Any]]()
            for camera, slot_us in keys:
                key = camera, slot_us
                whole = bounded(slot_us, merge(known.get(key, ()), fresh[key]))
                rows += _rows(self.tenant, camera, slot_us, whole)
            if rows:
                await deleted(session, delete(CoverageRow).where(_is_one_of(keys)))
                await session.execute(insert_into(session, CoverageRow), rows)

    async def _known(
        self, session: AsyncSession, keys: Sequence[_Key]
    ) -> dict[_Key, tuple[Stretch, ...]]:
        found: dict[_Key, list[Stretch]] = {}
        for row in await session.scalars(select(CoverageRow).where(_is_one_of(keys))):
            found.setdefault((row.camera, row.start_us), []).extend(_stretches(row))
        return {key: tuple(sorted(stretches)) for key, stretches in found.items()}

    # ------------------------------------------------------------ reading

    async def last(self, camera: str | None = None) -> dict[str, Stretch]:
        """The last stretch that is known of each camera."""
        # Looked up in the index once per camera: GROUP BY would read all of it.
        newest = (
            select(func.max(CoverageRow.start_us))
            .where(CoverageRow.tenant == CameraRow.tenant, CoverageRow.camera == CameraRow.id)
            .scalar_subquery()
        )
        statement = select(CameraRow.id, newest)
        if camera is not None:
            statement = statement.where(CameraRow.id == camera)
        found = dict[str, Stretch]()
        async with self._sessions.read() as session:
            newest_of = await session.execute(statement)
            keys = [(name, at_us) for name, at_us in newest_of if at_us is not None]
            for some in _pieces(keys, _CAMERAS):
                known = await self._known(session, some)
                found |= {name: stretches[-1] for (name, _), stretches in known.items()}
        return found

    async def totals(
        self, since_us: int, until_us: int, camera: str | None = None
    ) -> list[CoverTotal]:
        """How long each thing held in the quarters of an hour that begin between two times."""
        found = list[CoverTotal]()
        for cameras in await self._cameras(camera):
            statement = (
                select(CoverageRow.camera, CoverageRow.cover, func.sum(CoverageRow.total_ms))
                .where(*_between(since_us, until_us, cameras))
                .group_by(CoverageRow.camera, CoverageRow.cover)
                .order_by(CoverageRow.camera, CoverageRow.cover)
            )
            async with self._sessions.read() as session:
                found += [
                    CoverTotal(name, Cover(cover), int(total_ms))
                    for name, cover, total_ms in await session.execute(statement)
                ]
        return found

    async def gaps(
        self,
        since_us: int,
        until_us: int,
        camera: str | None = None,
        *,
        limit: int,
        cursor: str | None = None,
    ) -> GapPage:
        """When cameras were blind in the quarters of an hour that begin between two times:
        camera by camera, oldest first.

        A gap that is longer than a page reaches goes on, as another one, on the next page.

        Raises:
            InputError: a broken cursor.
        """
        place = RECORDING_CURSOR.decode(cursor) if cursor is not None else None
        found = list[Gap]()
        read = 0
        for cameras in await self._cameras(camera, place[1] if place is not None else ""):
            more = True
            while more:
                async with self._sessions.read() as session:
                    statement = _gap_rows(since_us, until_us, cameras, place)
                    rows = list(await session.scalars(statement))
                read += len(rows)
                more = len(rows) >= _ROWS
                # Rows of the last quarter of an hour may be cut off: they are read again.
                whole = _without_last_slot(rows) if more else rows
                found = _with(found, whole, place)
                if whole:
                    last = whole[-1]
                    place = (last.start_us + SLOT_US, last.camera)
                if len(found) > limit or read >= _MOST_ROWS:
                    return _page(found, limit, place)
        return _page(found, limit, None)

    async def _cameras(self, camera: str | None, first: str = "") -> list[list[str]]:
        """The cameras that are asked for from this name on, a few at a time."""
        statement = select(CameraRow.id).where(CameraRow.id >= first).order_by(CameraRow.id)
        if camera is not None:
            statement = statement.where(CameraRow.id == camera)
        async with self._sessions.read() as session:
            return _pieces(list(await session.scalars(statement)), _CAMERAS)


def _pieces(items: Sequence[_T], size: int) -> list[list[_T]]:
    return [list(items[first : first + size]) for first in range(0, len(items), size)]


def _between(since_us: int, until_us: int, cameras: Sequence[str]) -> list[ColumnElement[bool]]:
    return [
        CoverageRow.camera.in_(cameras),
        CoverageRow.start_us >= since_us,
        CoverageRow.start_us < until_us,
    ]


def _is_one_of(keys: Sequence[_Key]) -> ColumnElement[bool]:
    # The pairs alone lead SQLite to no index: it would read all rows of the tenant.
    return and_(
        CoverageRow.camera.in_({camera for camera, _ in keys}),
        CoverageRow.start_us.in_({start_us for _, start_us in keys}),
        tuple_(CoverageRow.camera, CoverageRow.start_us).in_(keys),
    )


def _rows(
    tenant: str, camera: str, slot_us: int, stretches: Sequence[Stretch]
) -> list[dict[str, Any]]:
    covers: dict[Cover, list[Stretch]] = {}
    for stretch in stretches:
        covers.setdefault(stretch.cover, []).append(stretch)
    return [
        {
            "tenant": tenant,
            "camera": camera,
            "start_us": slot_us,
            "cover": cover.value,
            "end_us": of_cover[-1].end_us,
            "total_ms": sum(s.end_us - s.start_us for s in of_cover) // 1_000,
            "stretches": [
                [(s.start_us - slot_us) // 1_000, (s.end_us - slot_us) // 1_000] for s in of_cover
            ],
        }
        for cover, of_cover in covers.items()
    ]


def _stretches(row: CoverageRow) -> list[Stretch]:
    cover = Cover(row.cover)
    return [
        Stretch(row.start_us + begin * 1_000, row.start_us + end * 1_000, cover)
        for begin, end in row.stretches
    ]


def _gap_rows(
    since_us: int, until_us: int, cameras: Sequence[str], place: tuple[int, str] | None
) -> Select[CoverageRow]:
    statement = (
        select(CoverageRow)
        .where(
            CoverageRow.cover.not_in([cover.value for cover in Cover if not cover.blind]),
            *_between(since_us, until_us, cameras),
        )
        .order_by(CoverageRow.camera, CoverageRow.start_us, CoverageRow.cover)
        .limit(_ROWS)
    )
    if place is not None:
        at_us, name = place
        here = and_(CoverageRow.camera == name, CoverageRow.end_us > at_us)
        statement = statement.where(or_(CoverageRow.camera > name, here))
    return statement


def _without_last_slot(rows: Sequence[CoverageRow]) -> list[CoverageRow]:
    last = rows[-1]
    return [r for r in rows if (r.camera, r.start_us) != (last.camera, last.start_us)]


def _with(
    found: list[Gap], rows: Sequence[CoverageRow], place: tuple[int, str] | None
) -> list[Gap]:
    for camera, of_camera in groupby(rows, key=attrgetter("camera")):
        told = sorted(stretch for row in of_camera for stretch in _stretches(row))
        if place is not None and place[1] == camera:
            told = [stretch for stretch in told if stretch.start_us >= place[0]]
        last = found[-1] if found else None
        if last is not None and last.camera == camera:
            told.insert(0, Stretch(*found.pop()[1:]))
        found += [Gap(camera, *stretch) for stretch in joined(told)]
    return found


def _page(found: list[Gap], limit: int, place: tuple[int, str] | None) -> GapPage:
    """Args: `place`: from where on there are rows that were not read."""
    if len(found) > limit:
        last = found[limit - 1]
        place = (last.end_us, last.camera)
    following = RECORDING_CURSOR.encode(place) if place is not None else None
    return GapPage(found[:limit], following)
