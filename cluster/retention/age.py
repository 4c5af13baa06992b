"""Removes of one tenant's rows what has reached its age, in small steps, with files and vectors.

Files and vectors go first, rows last: what breaks off in between is found again by its row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from cluster.clips.clips import clip_keys
from cluster.retention.clips import is_clip_held
from cluster.retention.stores import StoredFile, remove_in_chunks
from cluster.retention.sweep import AnyOld, GaveUp, Steps, Sweep
from cluster.stores.db.expiry import OldAlarm, OldObject, OldRecording
from pipelines.errors import AtalaiaError
from pipelines.retention import (
    HeldSpan,
    RetentionKind,
    Window,
    clip_bounds,
    cutoff_us,
    windows,
)

# Things per look into the database; each look reads the holds anew.
BATCH = 64
# Rows of paths in one transaction, and vectors in one call of the engine: some 10 ms each.
PATHS, VECTORS = 1_000, 500

K = RetentionKind
Old = TypeVar("Old", OldAlarm, OldRecording, OldObject)
Holds = Sequence[HeldSpan]


@dataclass(frozen=True, slots=True)
class _Sort(Generic[Old]):
    """One sort of thing that has a row and files.

    Attributes:
        find: things of a camera in a window, oldest first, behind the last one.
        files: those that go with a thing, by camera and the holds there are.
        forget: removes the rows of a camera's things, or what the rows say of the files.
    """

    kind: RetentionKind
    name: str
    find: Callable[..., Awaitable[list[Old]]]
    files: Callable[[str, Holds, Old], Awaitable[list[StoredFile]]]
    forget: Callable[[str, list[Old]], Awaitable[None]]


@dataclass(slots=True)
class AgeSweep(Sweep):
    """Removes rows, with what belongs to them."""

    _drained: set[tuple[RetentionKind, str]] = field(init=False, default_factory=set)

    async def steps(self) -> Steps:
        """Remove all that has reached its age. A kind that fails is left for the next run."""
        for kind, work in (
            (K.RECORDINGS, self._recordings),
            (K.SNAPSHOTS, self._pictures_of_alarms),
            (K.SNAPSHOTS, self._pictures_of_objects),
            (K.PATHS, self._paths),
            (K.COVERAGE, self._coverage),
            (K.EMBEDDINGS, self._embeddings),
            (K.OBJECTS, self._objects),
            (K.ALARMS, self._alarms),
        ):
            try:
                async for _ in work():
                    yield
            except GaveUp:
                continue  # what failed is counted
            except AtalaiaError as error:
                self.tally.fail(kind, error)

    # ------------------------------------------------------------ the kinds

    async def _recordings(self) -> Steps:
        async def forget(camera: str, gone: list[OldRecording]) -> None:
            await self.stores.expiry.remove_recordings(camera, [old.start_us for old in gone])

        async def files(_camera: str, _holds: Holds, old: OldRecording) -> list[StoredFile]:
            return [StoredFile(old.blob, old.size or None)]

        sort = _Sort(K.RECORDINGS, "recordings", self.stores.expiry.recordings, files, forget)
        async for _ in self._all(sort, K.RECORDINGS, self.retention.days):
            yield

    async def _pictures_of_alarms(self) -> Steps:
        async def forget(_camera: str, gone: list[OldAlarm]) -> None:
            await self.stores.expiry.forget_alarm_pictures([old.id for old in gone])

        find = partial(self.stores.expiry.alarms, pictured=True)
        sort = _Sort(K.SNAPSHOTS, "pictures of alarms", find, _picture, forget)
        async for _ in self._all(sort, K.ALARMS, self._picture_days):
            yield

    async def _pictures_of_objects(self) -> Steps:
        async def forget(camera: str, gone: list[OldObject]) -> None:
            await self.stores.expiry.forget_object_pictures(camera, [old.track for old in gone])

        find = partial(self.stores.expiry.objects, pictured=True)
        sort = _Sort(K.SNAPSHOTS, "pictures of objects", find, _picture, forget)
        async for _ in self._all(sort, K.OBJECTS, self._picture_days):
            yield

    async def _paths(self) -> Steps:
        for camera in await self.stores.expiry.cameras(K.PATHS):
            remove = partial(self.stores.expiry.remove_paths, camera, limit=PATHS)
            async for _ in self._drain(K.PATHS, camera, remove):
                yield
        # What says when a camera was analysed is no longer of use than the paths of the time.
        for camera in await self.stores.expiry.analysed_cameras():
            remove = partial(self.stores.expiry.remove_analysed, camera, limit=PATHS)
            async for _ in self._drain(K.PATHS, camera, remove):
                yield

    async def _coverage(self) -> Steps:
        for camera in await self.stores.expiry.cameras(K.COVERAGE):
            remove = partial(self.stores.expiry.remove_coverage, camera, limit=PATHS)
            async for _ in self._drain(K.COVERAGE, camera, remove):
                yield

    async def _embeddings(self) -> Steps:
        cameras = {
            *await self.stores.expiry.cameras(K.OBJECTS),
            *await self.stores.expiry.known_cameras(),
        }
        for camera in sorted(cameras | self.retention.policy.cameras.keys()):
            remove = partial(self.stores.memory.remove, camera, limit=VECTORS)
            async for _ in self._drain(K.EMBEDDINGS, camera, remove):
                yield

    async def _objects(self) -> Steps:
        async def forget(camera: str, gone: list[OldObject]) -> None:
            await self.stores.expiry.remove_objects(camera, [old.track for old in gone])

        sort = _Sort(K.OBJECTS, "objects", self.stores.expiry.objects, _picture, forget)
        async for _ in self._all(sort, K.OBJECTS, self._object_days):
            yield

    async def _alarms(self) -> Steps:
        async def forget(_camera: str, gone: list[OldAlarm]) -> None:
            await self.stores.expiry.remove_alarms([old.id for old in gone])

        async def files(camera: str, holds: Holds, old: OldAlarm) -> list[StoredFile]:
            # A clip shows more than the alarm's moment.
            bounds = clip_bounds(old.at_us)
            held = await is_clip_held(self.stores.blobs, old.id, holds, camera, bounds)
            clip = [] if held else clip_keys(old.id)
            return [*map(StoredFile, clip), *await _picture(camera, holds, old)]

        sort = _Sort(K.ALARMS, "alarms", self.stores.expiry.alarms, files, forget)
        async for _ in self._all(sort, K.ALARMS, self.retention.days):
            yield

    def _picture_days(self, owner: RetentionKind, camera: str) -> float | None:
        return self.retention.picture_days(owner, camera)

    def _object_days(self, kind: RetentionKind, camera: str) -> float | None:
        """An object whose vector could not be removed stays, so that the vector is found."""
        drained = (K.EMBEDDINGS, camera) in self._drained
        return self.retention.days(kind, camera) if drained else None

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
        for camera in self.resume.first(sort.name, await self.stores.expiry.cameras(owner)):
            until_us = cutoff_us(self.now_us, days(owner, camera))
            if until_us is None:
                continue
            async for _ in self._of_camera(sort, camera, until_us):
                yield

    async def _of_camera(self, sort: _Sort[Old], camera: str, until_us: int) -> Steps:
        place = sort.name, camera
        after: Any = self.resume.places.pop(place, None)
        if after is not None:
            self.tally.complete = False
        while True:
            holds = await self.stores.retention.held()
            batch = await self._next(sort, camera, windows(until_us, holds, camera), after)
            if not batch:
                return
            await self._remove(sort, camera, batch, holds)
            after = batch[-1]
            yield

    async def _next(
        self, sort: _Sort[Old], camera: str, open: list[Window], after: Old | None
    ) -> list[Old]:
        """The next batch; empty: there is no more."""
        for window in open:
            if after is None or window.until_us > after[0]:
                found = await sort.find(camera, window, BATCH, after=after)
                if found:
                    return found
        return []

    async def _remove(self, sort: _Sort[Old], camera: str, batch: list[Old], holds: Holds) -> None:
        """Raises GaveUp: several failed at once; the next run goes on behind them."""

        def failed(old: Old, error: AtalaiaError) -> None:
            self.tally.fail(sort.kind, error, key=_file_of(old))

        files = partial(sort.files, camera, holds)
        async with aclosing(remove_in_chunks(self.stores.blobs, batch, files, failed)) as chunks:
            async for chunk in chunks:
                if chunk.refused:
                    self.resume.places[sort.name, camera] = chunk.tried[-1]
                    self.resume.cameras[sort.name] = camera
                    raise GaveUp
                if chunk.gone:
                    await sort.forget(camera, [old for old, _ in chunk.gone])
                    size = sum(size for _, size in chunk.gone)
                    self.tally.add(sort.kind, len(chunk.gone), size)

    async def _drain(
        self, kind: RetentionKind, camera: str, remove: Callable[[Window], Awaitable[int]]
    ) -> Steps:
        """Call `remove` for what nothing holds until it finds no more."""
        until_us = cutoff_us(self.now_us, self.retention.days(kind, camera))
        if until_us is None:
            return
        while removed := await self._drained_once(camera, until_us, remove):
            self.tally.add(kind, removed)
            yield
        self._drained.add((kind, camera))

    async def _drained_once(
        self, camera: str, until_us: int, remove: Callable[[Window], Awaitable[int]]
    ) -> int:
        for window in windows(until_us, await self.stores.retention.held(), camera):
            if removed := await remove(window):
                return removed
        return 0


async def _picture(_camera: str, _holds: Holds, old: OldAlarm | OldObject) -> list[StoredFile]:
    return [StoredFile(old.snapshot)] if old.snapshot else []


def _file_of(old: AnyOld) -> str:
    """A file of a thing, for the log; empty: it has none."""
    return old.blob if isinstance(old, OldRecording) else old.snapshot or ""
