"""Removes of one tenant's rows what has reached its age, in small steps, with files and vectors.

Files and vectors go first, rows last: what breaks off in between is found again by its row.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from cluster.clips.clips import clip_keys
from cluster.retention.stores import TenantStores, remove_all
from cluster.retention.tally import Tally
from cluster.stores.db.expiry import OldAlarm, OldObject, OldRecording
from pipelines.errors import AtalaiaError
from pipelines.retention import (
    HeldSpan,
    Retention,
    RetentionKind,
    Window,
    cutoff_us,
    windows,
)

# Things per look into the database; each look reads the holds anew.
BATCH = 64
# Things whose files are removed at the same time. Where all of them fail, the storage is away.
AT_ONCE = 8
# Rows of paths in one transaction, and vectors in one call of the engine: some 10 ms each.
PATHS, VECTORS = 1_000, 500

K = RetentionKind
Steps = AsyncGenerator[None, None]
"""Work in pieces: others may have their turn after each."""
Old = TypeVar("Old", OldAlarm, OldRecording, OldObject)
AnyOld = OldAlarm | OldRecording | OldObject


@dataclass(slots=True)
class Resume:
    """Where the next run of a tenant goes on, after a run that gave up: so what can never be
    removed does not stand in the way of the rest.

    Attributes:
        places: the last thing that was tried, by sort and camera.
        cameras: the camera of it, by sort.
        strays_us: when pictures without a row were last looked for, by what they show.
    """

    places: dict[tuple[str, str], AnyOld] = field(default_factory=dict)
    cameras: dict[str, str] = field(default_factory=dict)
    strays_us: dict[RetentionKind, int] = field(default_factory=dict)

    def first(self, sort: str, cameras: Sequence[str]) -> list[str]:
        """The cameras in turn, from the one where the last run gave up."""
        last = self.cameras.pop(sort, "")
        return [c for c in cameras if c >= last] + [c for c in cameras if c < last]


@dataclass(frozen=True, slots=True)
class _Sort(Generic[Old]):
    """One sort of thing that has a row and files.

    Attributes:
        find: things of a camera in a window, oldest first, behind the last one.
        files: keys of its files.
        forget: removes the rows of a camera's things, or what the rows say of the files.
    """

    kind: RetentionKind
    name: str
    find: Callable[..., Awaitable[list[Old]]]
    files: Callable[[Old], list[str]]
    forget: Callable[[str, list[Old]], Awaitable[None]]


class _GaveUp(Exception):
    """Several things failed at once."""


class AgeSweep:
    """One run for one tenant.

    Args:
        tally: what was removed is counted there.
        resume: kept from run to run.
    """

    def __init__(
        self,
        stores: TenantStores,
        retention: Retention,
        now_us: int,
        tally: Tally,
        resume: Resume,
    ) -> None:
        self._stores = stores
        self._expiry = stores.expiry
        self._retention = retention
        self._now_us = now_us
        self._tally = tally
        self._resume = resume
        self._drained: set[tuple[RetentionKind, str]] = set()

    async def steps(self) -> Steps:
        """Remove all that has reached its age. A kind that fails is left for the next run."""
        for kind, work in (
            (K.RECORDINGS, self._recordings),
            (K.SNAPSHOTS, self._pictures_of_alarms),
            (K.SNAPSHOTS, self._pictures_of_objects),
            (K.PATHS, self._paths),
            (K.EMBEDDINGS, self._embeddings),
            (K.OBJECTS, self._objects),
            (K.ALARMS, self._alarms),
        ):
            try:
                async for _ in work():
                    yield
            except _GaveUp:
                continue  # what failed is counted
            except AtalaiaError as error:
                self._tally.fail(kind, error)

    # ------------------------------------------------------------ the kinds

    async def _recordings(self) -> Steps:
        async def forget(camera: str, gone: list[OldRecording]) -> None:
            await self._expiry.remove_recordings(camera, [old.start_us for old in gone])

        sort = _Sort(
            K.RECORDINGS, "recordings", self._expiry.recordings, lambda old: [old.blob], forget
        )
        async for _ in self._all(sort, K.RECORDINGS, self._retention.days):
            yield

    async def _pictures_of_alarms(self) -> Steps:
        async def forget(_camera: str, gone: list[OldAlarm]) -> None:
            await self._expiry.forget_alarm_pictures([old.id for old in gone])

        find = partial(self._expiry.alarms, pictured=True)
        sort = _Sort(K.SNAPSHOTS, "pictures of alarms", find, _picture, forget)
        async for _ in self._all(sort, K.ALARMS, self._picture_days):
            yield

    async def _pictures_of_objects(self) -> Steps:
        async def forget(camera: str, gone: list[OldObject]) -> None:
            await self._expiry.forget_object_pictures(camera, [old.track for old in gone])

        find = partial(self._expiry.objects, pictured=True)
        sort = _Sort(K.SNAPSHOTS, "pictures of objects", find, _picture, forget)
        async for _ in self._all(sort, K.OBJECTS, self._picture_days):
            yield

    async def _paths(self) -> Steps:
        for camera in await self._expiry.cameras(K.PATHS):
            remove = partial(self._expiry.remove_paths, camera, limit=PATHS)
            async for _ in self._drain(K.PATHS, camera, remove):
                yield
        # What says when a camera was analysed is no longer of use than the paths of the time.
        for camera in await self._expiry.analysed_cameras():
            remove = partial(self._expiry.remove_analysed, camera, limit=PATHS)
            async for _ in self._drain(K.PATHS, camera, remove):
                yield

    async def _embeddings(self) -> Steps:
        cameras = {*await self._expiry.cameras(K.OBJECTS), *await self._expiry.known_cameras()}
        for camera in sorted(cameras | self._retention.policy.cameras.keys()):
            remove = partial(self._stores.memory.remove, camera, limit=VECTORS)
            async for _ in self._drain(K.EMBEDDINGS, camera, remove):
                yield

    async def _objects(self) -> Steps:
        async def forget(camera: str, gone: list[OldObject]) -> None:
            await self._expiry.remove_objects(camera, [old.track for old in gone])

        sort = _Sort(K.OBJECTS, "objects", self._expiry.objects, _picture, forget)
        async for _ in self._all(sort, K.OBJECTS, self._object_days):
            yield

    async def _alarms(self) -> Steps:
        async def forget(_camera: str, gone: list[OldAlarm]) -> None:
            await self._expiry.remove_alarms([old.id for old in gone])

        def files(old: OldAlarm) -> list[str]:
            return [*clip_keys(old.id), *_picture(old)]

        sort = _Sort(K.ALARMS, "alarms", self._expiry.alarms, files, forget)
        async for _ in self._all(sort, K.ALARMS, self._retention.days):
            yield

    def _picture_days(self, owner: RetentionKind, camera: str) -> float | None:
        return self._retention.picture_days(owner, camera)

    def _object_days(self, kind: RetentionKind, camera: str) -> float | None:
        """An object whose vector could not be removed stays, so that the vector is found."""
        drained = (K.EMBEDDINGS, camera) in self._drained
        return self._retention.days(kind, camera) if drained else None

    # ------------------------------------------------------------ how they go

    async def _all(
        self,
        sort: _Sort[Old],
        owner: RetentionKind,
        days: Callable[[RetentionKind, str], float | None],
    ) -> Steps:
        """Remove things of a sort, camera by camera.

        Args:
            owner: kind of the rows that they belong to.
            days: how long they are kept.
        """
        for camera in self._resume.first(sort.name, await self._expiry.cameras(owner)):
            until_us = cutoff_us(self._now_us, days(owner, camera))
            if until_us is None:
                continue
            async for _ in self._of_camera(sort, camera, until_us):
                yield

    async def _of_camera(self, sort: _Sort[Old], camera: str, until_us: int) -> Steps:
        place = sort.name, camera
        after: Any = self._resume.places.pop(place, None)
        if after is not None:
            self._tally.complete = False
        while batch := await self._next(sort, camera, until_us, after):
            for n in range(0, len(batch), AT_ONCE):
                chunk = batch[n : n + AT_ONCE]
                if not await self._remove(sort, camera, chunk):
                    self._resume.places[place] = chunk[-1]
                    self._resume.cameras[sort.name] = camera
                    raise _GaveUp
            after = batch[-1]
            yield

    async def _next(
        self, sort: _Sort[Old], camera: str, until_us: int, after: Old | None
    ) -> list[Old]:
        """The next batch; empty: there is no more."""
        for window in windows(until_us, await self._held(), camera):
            if after is None or window.until_us > after[0]:
                found = await sort.find(camera, window, BATCH, after=after)
                if found:
                    return found
        return []

    async def _remove(self, sort: _Sort[Old], camera: str, chunk: list[Old]) -> bool:
        """Remove some things. Returns False if all of them failed."""
        results = await remove_all(self._stores.blobs, [sort.files(old) for old in chunk])
        gone, size = [], 0
        for old, result in zip(chunk, results, strict=True):
            if isinstance(result, AtalaiaError):
                self._tally.fail(sort.kind, result, key=", ".join(sort.files(old)[-1:]))
            else:
                gone.append(old)
                size += result
        if gone:
            await sort.forget(camera, gone)
            self._tally.add(sort.kind, len(gone), size)
        return bool(gone)

    async def _drain(
        self, kind: RetentionKind, camera: str, remove: Callable[[Window], Awaitable[int]]
    ) -> Steps:
        """Call `remove` for what nothing holds until it finds no more."""
        until_us = cutoff_us(self._now_us, self._retention.days(kind, camera))
        if until_us is None:
            return
        while removed := await self._drained_once(camera, until_us, remove):
            self._tally.add(kind, removed)
            yield
        self._drained.add((kind, camera))

    async def _drained_once(
        self, camera: str, until_us: int, remove: Callable[[Window], Awaitable[int]]
    ) -> int:
        for window in windows(until_us, await self._held(), camera):
            if removed := await remove(window):
                return removed
        return 0

    async def _held(self) -> list[HeldSpan]:
        return await self._stores.retention.held()


def _picture(old: OldAlarm | OldObject) -> list[str]:
    return [old.snapshot] if old.snapshot else []
