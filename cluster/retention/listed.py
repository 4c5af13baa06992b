"""Files that no row names: clips, manifests of exports, tables of jobs, pictures and recordings
whose row never came. Found by listing the storage, in parts, and judged by what they belong to."""

from __future__ import annotations

import re
import string
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from uuid import UUID

from pydantic import ValidationError

from cluster.clips.manifest import Manifest
from cluster.recording.strays import Stray, day_folders, without_row
from cluster.retention.clips import is_clip_held
from cluster.retention.stores import AT_ONCE, StoredFile, TenantStores, all_of, remove_in_chunks
from cluster.retention.sweep import GaveUp, Place, Steps, Sweep
from cluster.retention.tally import Tally
from cluster.stores.blobs.tenant import ListedBlob
from pipelines.errors import AtalaiaError, InputError, NotFoundError, UnavailableError
from pipelines.retention import (
    DAY_US,
    EARLIEST_US,
    LATEST_US,
    Days,
    HeldSpan,
    RetentionKind,
    clip_bounds,
    cutoff_us,
    is_held,
    shorter,
)
from pipelines.times import to_us

# Names begin with a digit of an id, or of a time.
_HEX = "0123456789abcdef"
# Things in one step: ids of alarms in one statement.
_IDS = 200
# Manifests in one step: each is read.
_MANIFESTS = 64
# Behind every name in a folder.
_END = "~"
# The longest part of a video that one table describes: `batch.chunk_s`, and a group of pictures.
TABLE_US = 3_660_000_000
_TABLE = re.compile(r"detections/[a-z0-9-]+/(\d{1,18})-[0-9a-f]+\.parquet", re.ASCII)

K = RetentionKind
Group = list[ListedBlob]
"""Files that go together."""


@dataclass(frozen=True, slots=True)
class ListedThing:
    """Files that go together.

    Attributes:
        camera: whose; empty if that is not known any more.
        age_us: the moment from which the age counts.
        start_us, end_us: what it shows, for holds; of a clip, what it could show.
        owner: kind of what a picture shows, whose limit applies too.
        clip_of: the alarm, of a clip.
    """

    kind: RetentionKind
    camera: str
    age_us: int
    start_us: int
    end_us: int
    files: tuple[StoredFile, ...]
    owner: RetentionKind | None = None
    clip_of: UUID | None = None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size or 0 for file in self.files)

    async def is_held(self, stores: TenantStores, holds: Sequence[HeldSpan]) -> bool:
        """Whether a hold keeps it. Raises UnavailableError: what a clip shows cannot be read."""
        bounds = self.start_us, self.end_us
        if self.clip_of is None:
            return is_held(*bounds, holds, self.camera)
        if self.camera and is_held(self.age_us, self.age_us, holds, self.camera):
            return True  # the alarm's moment: no need to read what else it shows
        return await is_clip_held(stores.blobs, self.clip_of, holds, self.camera, bounds)


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of one sort, as they lie in the storage.

    Attributes:
        folders: where they lie, in order.
        firsts: characters with which their names begin, in order.
        things: what groups of files are, without those that stay in any case. Raises GaveUp,
            UnavailableError.
        size: groups in one step.
        until_us: what was stored later is left out.
        daily: whether to go through it once a day only, because it lists all that is kept.
    """

    kind: RetentionKind
    name: str
    folders: Callable[[], Awaitable[list[str]]]
    firsts: str
    things: Callable[[list[Group]], Awaitable[list[ListedThing]]]
    size: int
    until_us: int = LATEST_US + 1
    owner: RetentionKind | None = None
    daily: bool = False

    @property
    def shown(self) -> RetentionKind:
        """Kind of what it shows."""
        return self.owner or self.kind

    async def batches(
        self, stores: TenantStores, place: Place
    ) -> AsyncGenerator[list[Group], None]:
        """Groups of files by key, behind a place, which moves on before each batch: so the next run
        goes on behind what fails. Raises UnavailableError."""
        for folder in await self.folders():
            end = f"{folder}/{_END}"
            if _order(end) <= _order(place.after):
                continue
            inside = place.after.startswith(f"{folder}/")
            after = place.after.rpartition("/")[2] if inside else ""
            place.after = end
            pages = stores.blobs.pages(folder, self.firsts, after=after)
            async with aclosing(pages):
                async for page in pages:
                    groups = _groups(page, self.until_us)
                    while some := list(islice(groups, self.size)):
                        place.after = some[-1][-1].key
                        yield some
            place.after = end


def _order(key: str) -> list[str]:
    """Keys in the order in which their folders and their names come."""
    return key.split("/")


def _groups(blobs: Sequence[ListedBlob], until_us: int) -> Iterator[Group]:
    """Files with the same name before the first dot, that were all stored before `until_us`."""
    for _, group in groupby(blobs, lambda blob: blob.key.partition(".")[0]):
        found = list(group)
        if all(_stored_us(blob) < until_us for blob in found):
            yield found


class ListedSweep(Sweep):
    """Removes files that no row names."""

    async def steps(self) -> Steps:
        """Remove all that has reached its age. A kind that fails is left for the next run."""
        for listing in self._listings():
            self.resume.listing = listing.name
            async with aclosing(self._through(listing)) as steps:
                async for _ in steps:
                    yield
        self.resume.listing = ""

    def _listings(self) -> list[Listing]:
        """Those in which something can be due, from the one where the last run ended."""
        stores, found = self.stores, list[Listing]()
        if self._oldest_us(K.CLIPS) is not None:
            found.append(clips(stores))
        if (until_us := self._oldest_us(K.EXPORTS)) is not None:
            # Only those that were stored so long ago that one of the limits could apply.
            found.append(exports(stores, until_us, self.tally))
        if self._oldest_us(K.PATHS) is not None:
            found.append(tables(stores))
        for owner, pictures in (
            (K.ALARMS, stray_pictures_of_alarms),
            (K.OBJECTS, stray_pictures_of_objects),
        ):
            if (until_us := self._oldest_us(K.SNAPSHOTS, owner)) is not None:
                found.append(pictures(stores, until_us))
        if (until_us := self._oldest_us(K.RECORDINGS)) is not None:
            # One that was stored today may be about to get its row.
            found.append(stray_recordings(stores, min(until_us, self.now_us - DAY_US)))
        found = [listing for listing in found if self._is_due(listing)]
        first = [n for n, listing in enumerate(found) if listing.name == self.resume.listing]
        return found[first[0] :] + found[: first[0]] if first else found

    def _is_due(self, listing: Listing) -> bool:
        last_us = self.resume.strays_us.get(listing.shown, EARLIEST_US)
        return not listing.daily or self.now_us >= last_us + DAY_US

    async def _through(self, listing: Listing) -> Steps:
        """Go through a listing, from where the last run ended."""
        place = self.resume.listed.setdefault(listing.name, Place("", left=False))
        self.tally.complete &= not place.left
        try:
            async with aclosing(listing.batches(self.stores, place)) as batches:
                async for groups in batches:
                    await self._sweep(await listing.things(groups), place)
                    yield
        except GaveUp:
            place.left = True
            return
        except AtalaiaError as error:
            self.tally.fail(listing.kind, error)
            place.left = True
            return
        del self.resume.listed[listing.name]
        if listing.daily:
            self.resume.strays_us[listing.shown] = self.now_us

    async def _sweep(self, things: Sequence[ListedThing], place: Place) -> None:
        """Remove what may go of some things. Raises GaveUp: several failed at once; the next run
        goes on behind them."""

        def failed(thing: ListedThing, error: AtalaiaError) -> None:
            self.tally.fail(thing.kind, error, key=thing.files[0].key)
            place.left = True

        old = [thing for thing in things if self._is_old(thing)]
        free = await not_held(self.stores, old, failed)
        async with aclosing(remove_in_chunks(self.stores.blobs, free, files_of, failed)) as chunks:
            async for chunk in chunks:
                for thing, size in chunk.gone:
                    self.tally.add(thing.kind, 1, size)
                if chunk.refused:
                    place.after = max(file.key for file in chunk.tried[-1].files)
                    raise GaveUp

    def _is_old(self, thing: ListedThing) -> bool:
        until_us = cutoff_us(self.now_us, self._days(thing.kind, thing.camera, thing.owner))
        return until_us is not None and thing.age_us < until_us

    def _oldest_us(self, kind: RetentionKind, owner: RetentionKind | None = None) -> int | None:
        """Nothing newer can be due, of any camera; None: nothing at all can be."""
        found = self._days(kind, None, owner)
        for camera in self.retention.policy.cameras:
            found = shorter(found, self._days(kind, camera, owner))
        return cutoff_us(self.now_us, found)

    def _days(
        self, kind: RetentionKind, camera: str | None, owner: RetentionKind | None
    ) -> Days | None:
        if owner is not None:
            return self.retention.picture_days(owner, camera)
        return self.retention.days(kind, camera)


async def not_held(
    stores: TenantStores,
    things: Sequence[ListedThing],
    failed: Callable[[ListedThing, AtalaiaError], None],
) -> list[ListedThing]:
    """Those that no hold keeps.

    Args:
        failed: called with those of which it cannot be determined.

    Raises:
        GaveUp: it cannot be determined of several; UnavailableError: the holds cannot be read.
    """
    found = list[ListedThing]()
    holds = await stores.retention.held() if things else []
    for n in range(0, len(things), AT_ONCE):
        tried = things[n : n + AT_ONCE]
        results = await all_of(thing.is_held(stores, holds) for thing in tried)
        for thing, result in zip(tried, results, strict=True):
            if isinstance(result, AtalaiaError):
                failed(thing, result)
            elif not result:
                found.append(thing)
        if sum(isinstance(result, AtalaiaError) for result in results) == AT_ONCE:
            raise GaveUp
    return found


async def files_of(thing: ListedThing) -> Sequence[StoredFile]:
    """For `remove_in_chunks`."""
    return thing.files


# ------------------------------------------------------------ what there is


def clips(stores: TenantStores) -> Listing:
    """All clips. The age of one counts from its alarm, or from when it was stored if the alarm is
    not kept any more."""

    async def things(groups: list[Group]) -> list[ListedThing]:
        ids = {id: group for group in groups if (id := _id_in(group[0].key)) is not None}
        places = await stores.expiry.alarm_places(list(ids))
        return [_clip(id, group, places.get(id)) for id, group in ids.items()]

    return Listing(K.CLIPS, "clips", _only("clips"), _HEX, things, _IDS)


def _clip(alarm: UUID, blobs: Group, place: tuple[str, int] | None) -> ListedThing:
    # In the order of `clip_keys`: the description before the clip.
    files = _files(sorted(blobs, key=lambda blob: "clip.json" not in blob.key))
    if place is not None:
        camera, at_us = place
        return ListedThing(K.CLIPS, camera, at_us, *clip_bounds(at_us), files, clip_of=alarm)
    stored_us = max(_stored_us(blob) for blob in blobs)
    return ListedThing(K.CLIPS, "", stored_us, EARLIEST_US, stored_us, files, clip_of=alarm)


def exports(stores: TenantStores, until_us: int, tally: Tally) -> Listing:
    """Manifests that were stored before `until_us`. One that cannot be read stays, and counts as a
    failure."""

    async def read(group: Group) -> ListedThing | None:
        try:
            return _export(group[0], await stores.blobs.get(group[0].key))
        except NotFoundError:
            return None  # removed meanwhile

    async def things(groups: list[Group]) -> list[ListedThing]:
        found = list[ListedThing]()
        for n in range(0, len(groups), AT_ONCE):
            tried = groups[n : n + AT_ONCE]
            results = await all_of(map(read, tried))
            for group, result in zip(tried, results, strict=True):
                if isinstance(result, AtalaiaError):
                    tally.fail(K.EXPORTS, result, key=group[0].key)
                elif result is not None:
                    found.append(result)
            away = [result for result in results if isinstance(result, UnavailableError)]
            if len(away) == AT_ONCE:
                raise GaveUp
        return found

    return Listing(
        K.EXPORTS, "exports", _only("exports"), _HEX, things, _MANIFESTS, until_us=until_us
    )


def _export(blob: ListedBlob, data: bytes) -> ListedThing:
    """Raises InputError: it is no manifest."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError:
        raise InputError(f"{blob.key} is no manifest.", hint="Remove it by hand.") from None
    return ListedThing(
        K.EXPORTS,
        manifest.camera,
        to_us(manifest.created_at),
        to_us(manifest.asked.since),
        to_us(manifest.asked.until),
        _files([blob]),
    )


def tables(stores: TenantStores) -> Listing:
    """What jobs computed from recordings: boxes by time, so they go with paths."""

    async def things(groups: list[Group]) -> list[ListedThing]:
        return [thing for group in groups if (thing := _table(group)) is not None]

    folders = partial(_by_camera, stores, "detections")
    return Listing(K.PATHS, "tables", folders, string.digits, things, _IDS)


def table_span(key: str) -> tuple[int, int] | None:
    """First and last moment that a job's table can describe; None: it is no table."""
    named = _TABLE.fullmatch(key)
    return None if named is None else (int(named[1]), int(named[1]) + TABLE_US)


def _table(blobs: Group) -> ListedThing | None:
    span = table_span(blobs[0].key)
    if span is None:
        return None
    start_us, end_us = span
    return ListedThing(K.PATHS, _camera_in(blobs[0].key), end_us, start_us, end_us, _files(blobs))


def stray_pictures_of_alarms(stores: TenantStores, until_us: int) -> Listing:
    """Pictures without a row, as a host leaves them that is killed before it has sent one: stored
    before `until_us`, and their alarm is not kept. Of pictures that old there are few: those of
    alarms went before, unless they are held."""

    async def things(groups: list[Group]) -> list[ListedThing]:
        ids = {id: group for group in groups if (id := _id_in(group[0].key)) is not None}
        places = await stores.expiry.alarm_places(list(ids))
        return [_stray("", group, K.ALARMS) for id, group in ids.items() if id not in places]

    return Listing(
        K.SNAPSHOTS, "pictures of alarms", _only("alarms"), _HEX, things, _IDS,
        until_us=until_us, owner=K.ALARMS, daily=True,
    )  # fmt: skip


def stray_pictures_of_objects(stores: TenantStores, until_us: int) -> Listing:
    """The same for objects that are not kept, or have another picture."""

    async def things(groups: list[Group]) -> list[ListedThing]:
        camera = _camera_in(groups[0][0].key)
        keys = [blob.key for group in groups for blob in group]
        known = await stores.expiry.known_pictures(camera, keys)
        strays = [blob for group in groups for blob in group if blob.key not in known]
        return [_stray(camera, [blob], K.OBJECTS) for blob in strays]

    folders = partial(_by_camera, stores, "objects")
    return Listing(
        K.SNAPSHOTS, "pictures of objects", folders, _HEX, things, _IDS,
        until_us=until_us, owner=K.OBJECTS, daily=True,
    )  # fmt: skip


def stray_recordings(stores: TenantStores, until_us: int) -> Listing:
    """Recordings without a row, stored before `until_us`: of processes that ended in between, of
    rows that were lost, and what others have taken the place of."""

    async def folders() -> list[str]:
        cameras = await stores.blobs.folders("recordings")
        return [
            folder
            for camera in cameras
            for folder in await day_folders(stores.blobs, camera, to_us=until_us)
        ]

    async def things(groups: list[Group]) -> list[ListedThing]:
        blobs = [blob for group in groups for blob in group]
        strays = await without_row(blobs, stores.expiry.recording_files)
        return [_stray_recording(stray) for stray in strays]

    return Listing(
        K.RECORDINGS, "recordings without a row", folders, string.digits, things, _IDS,
        until_us=until_us, daily=True,
    )  # fmt: skip


def _stray_recording(stray: Stray) -> ListedThing:
    span = stray.start_us, stray.end_us
    return ListedThing(K.RECORDINGS, stray.camera, stray.end_us, *span, _files([stray.blob]))


def _stray(camera: str, blobs: Group, owner: RetentionKind) -> ListedThing:
    # What it shows is as old as the file, or older.
    at_us = max(_stored_us(blob) for blob in blobs)
    return ListedThing(K.SNAPSHOTS, camera, at_us, EARLIEST_US, at_us, _files(blobs), owner)


# ------------------------------------------------------------ keys


def _only(folder: str) -> Callable[[], Awaitable[list[str]]]:
    async def folders() -> list[str]:
        return [folder]

    return folders


async def _by_camera(stores: TenantStores, folder: str) -> list[str]:
    return [f"{folder}/{camera}" for camera in await stores.blobs.folders(folder)]


def _files(blobs: Sequence[ListedBlob]) -> tuple[StoredFile, ...]:
    return tuple(StoredFile(blob.key, blob.size) for blob in blobs)


def _camera_in(key: str) -> str:
    """The folder of a file like `objects/<camera>/<name>`."""
    return key.split("/")[-2]


def _id_in(key: str) -> UUID | None:
    """The id in a name like `clips/<id>.mp4`; None: it is not one of ours."""
    try:
        return UUID(key.rpartition("/")[2].partition(".")[0])
    except ValueError:
        return None


def _stored_us(blob: ListedBlob) -> int:
    """When it was stored; where the storage does not say so, never long enough ago."""
    return LATEST_US if blob.modified_us is None else blob.modified_us
