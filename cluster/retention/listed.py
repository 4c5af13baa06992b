"""Files that no row names: clips, manifests of exports, tables of jobs, pictures whose row never
came. Found by listing the storage, in parts, and judged by what they belong to."""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from cluster.clips.manifest import Manifest
from cluster.retention.age import AT_ONCE, Resume, Steps
from cluster.retention.stores import TenantStores, remove_all
from cluster.retention.tally import Tally
from cluster.stores.blobs.tenant import ListedBlob
from pipelines.errors import AtalaiaError, InputError, NotFoundError
from pipelines.retention import (
    DAY_US,
    EARLIEST_US,
    LATEST_US,
    Days,
    HeldSpan,
    Retention,
    RetentionKind,
    cutoff_us,
    is_held,
    shorter,
)
from pipelines.times import to_us

# Ids begin with a hexadecimal digit, and times with a decimal one, so that a listing is read in
# parts of about the same size.
_HEX = "0123456789abcdef"
# Ids of alarms in one statement.
_IDS = 200
# Parts of a listing in which several files failed at once, before a kind is given up for this run.
MAX_FAILED = 2
# The longest part of a video that one table describes: `batch.chunk_s`, and a group of pictures.
TABLE_US = 3_660_000_000
_TABLE = re.compile(r"detections/[a-z0-9-]+/(\d{1,18})-[0-9a-f]+\.parquet", re.ASCII)

K = RetentionKind


@dataclass(frozen=True, slots=True)
class ListedThing:
    """Files that go together.

    Attributes:
        camera: whose; empty if that is not known any more.
        age_us: the moment from which the age counts.
        start_us, end_us: what it shows, for holds.
        size: bytes.
        owner: kind of what a picture shows, whose limit applies too.
    """

    kind: RetentionKind
    camera: str
    age_us: int
    start_us: int
    end_us: int
    files: tuple[str, ...]
    size: int
    owner: RetentionKind | None = None


class ListedSweep:
    """One run for one tenant; the arguments are those of `AgeSweep`."""

    def __init__(
        self,
        stores: TenantStores,
        retention: Retention,
        now_us: int,
        tally: Tally,
        resume: Resume,
    ) -> None:
        self._stores = stores
        self._retention = retention
        self._now_us = now_us
        self._tally = tally
        self._resume = resume

    async def steps(self) -> Steps:
        """Remove all that has reached its age. A kind that fails is left for the next run."""
        for kind, found in (
            (K.CLIPS, clips(self._stores)),
            (K.EXPORTS, self._exports()),
            (K.PATHS, tables(self._stores)),
            (K.SNAPSHOTS, self._strays(K.ALARMS)),
            (K.SNAPSHOTS, self._strays(K.OBJECTS)),
        ):
            if kind is not K.SNAPSHOTS and self._oldest_us(kind) is None:
                continue
            failed = 0
            try:
                async with aclosing(found):
                    async for things in found:
                        failed += not await self._sweep(things)
                        if failed >= MAX_FAILED:
                            break  # the storage is away
                        yield
            except AtalaiaError as error:
                self._tally.fail(kind, error)

    async def _sweep(self, things: Sequence[ListedThing]) -> bool:
        """Remove what may go of some things. Returns False if it stopped, because several failed at
        once."""
        holds = await self._stores.retention.held()
        old = [thing for thing in things if self._may_go(thing, holds)]
        for n in range(0, len(old), AT_ONCE):
            chunk = old[n : n + AT_ONCE]
            if not await self._remove(chunk):
                return False
        return True

    async def _remove(self, chunk: Sequence[ListedThing]) -> bool:
        failures = 0
        results = await remove_all(self._stores.blobs, [thing.files for thing in chunk])
        for thing, result in zip(chunk, results, strict=True):
            if isinstance(result, AtalaiaError):
                self._tally.fail(thing.kind, result, key=thing.files[0])
                failures += 1
            else:
                self._tally.add(thing.kind, 1, result)
        return failures < len(chunk) or failures < AT_ONCE

    def _may_go(self, thing: ListedThing, holds: Sequence[HeldSpan]) -> bool:
        until_us = cutoff_us(self._now_us, self._days(thing.kind, thing.camera, thing.owner))
        aged = until_us is not None and thing.age_us < until_us
        return aged and not is_held(thing.start_us, thing.end_us, holds, thing.camera)

    def _exports(self) -> AsyncGenerator[list[ListedThing], None]:
        """Only those that were stored so long ago that one of the limits could apply."""
        until_us = self._oldest_us(K.EXPORTS)
        return exports(self._stores, EARLIEST_US if until_us is None else until_us, self._tally)

    async def _strays(self, owner: RetentionKind) -> AsyncGenerator[list[ListedThing], None]:
        """Pictures without a row, as a host leaves them that is killed before it has sent one.
        Once a day, because it lists all pictures."""
        until_us = self._oldest_us(K.SNAPSHOTS, owner)
        last_us = self._resume.strays_us.get(owner, EARLIEST_US)
        if until_us is None or self._now_us < last_us + DAY_US:
            return
        find = stray_pictures_of_alarms if owner is K.ALARMS else stray_pictures_of_objects
        async for things in find(self._stores, until_us):
            yield things
        self._resume.strays_us[owner] = self._now_us

    def _oldest_us(self, kind: RetentionKind, owner: RetentionKind | None = None) -> int | None:
        """Nothing newer can be due, of any camera; None: nothing at all can be."""
        found = self._days(kind, None, owner)
        for camera in self._retention.policy.cameras:
            found = shorter(found, self._days(kind, camera, owner))
        return cutoff_us(self._now_us, found)

    def _days(
        self, kind: RetentionKind, camera: str | None, owner: RetentionKind | None
    ) -> Days | None:
        if owner is not None:
            return self._retention.picture_days(owner, camera)
        return self._retention.days(kind, camera)


# ------------------------------------------------------------ what there is


async def clips(stores: TenantStores) -> AsyncGenerator[list[ListedThing], None]:
    """All clips. The age of one counts from its alarm, or from when it was stored if the alarm is
    not kept any more. Raises UnavailableError."""
    for digit in _HEX:
        files = defaultdict[UUID, list[ListedBlob]](list)
        for blob in await stores.blobs.listing(f"clips/{digit}"):
            alarm = _id_in(blob.key)
            if alarm is not None:
                files[alarm].append(blob)
        ids = list(files)
        for n in range(0, len(ids), _IDS):
            some = ids[n : n + _IDS]
            places = await stores.expiry.alarm_places(some)
            yield [_clip(files[alarm], places.get(alarm)) for alarm in some]


def _clip(blobs: list[ListedBlob], place: tuple[str, int] | None) -> ListedThing:
    # In the order of `clip_keys`: the description before the clip.
    keys = tuple(sorted((blob.key for blob in blobs), key=lambda key: "clip.json" not in key))
    size = sum(blob.size for blob in blobs)
    if place is not None:
        camera, at_us = place
        return ListedThing(K.CLIPS, camera, at_us, at_us, at_us, keys, size)
    stored_us = max(_stored_us(blob) for blob in blobs)
    # When it was recorded is not known, so that a hold on all cameras keeps it.
    return ListedThing(K.CLIPS, "", stored_us, EARLIEST_US, stored_us, keys, size)


async def exports(
    stores: TenantStores, until_us: int, tally: Tally
) -> AsyncGenerator[list[ListedThing], None]:
    """Manifests that were stored before `until_us`. One that cannot be read stays, and counts as a
    failure. Raises UnavailableError."""
    for digit in _HEX:
        for blob in await stores.blobs.listing(f"exports/{digit}"):
            if _stored_us(blob) >= until_us:
                continue
            try:
                yield [_export(blob, await stores.blobs.get(blob.key))]
            except NotFoundError:
                continue  # removed meanwhile
            except InputError as error:
                tally.fail(K.EXPORTS, error, key=blob.key)


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
        (blob.key,),
        blob.size,
    )


async def tables(stores: TenantStores) -> AsyncGenerator[list[ListedThing], None]:
    """What jobs computed from recordings: boxes by time, so they go with paths. Raises
    UnavailableError."""
    for camera in await stores.blobs.folders("detections"):
        for digit in string.digits:
            things = []
            for blob in await stores.blobs.listing(f"detections/{camera}/{digit}"):
                if named := _TABLE.fullmatch(blob.key):
                    start_us = int(named[1])
                    end_us = start_us + TABLE_US
                    things.append(
                        ListedThing(
                            K.PATHS, camera, end_us, start_us, end_us, (blob.key,), blob.size
                        )
                    )
            if things:
                yield things


async def stray_pictures_of_alarms(
    stores: TenantStores, until_us: int
) -> AsyncGenerator[list[ListedThing], None]:
    """Pictures that were stored before `until_us` and whose alarm is not kept. Of pictures that old
    there are few: those of alarms went before, unless they are held. Raises UnavailableError."""
    for digit in _HEX:
        for some in _stored_before(until_us, await stores.blobs.listing(f"alarms/{digit}")):
            ids = {blob.key: id for blob in some if (id := _id_in(blob.key)) is not None}
            places = await stores.expiry.alarm_places(list(ids.values()))
            strays = [blob for blob in some if blob.key in ids and ids[blob.key] not in places]
            yield [_stray("", blob, K.ALARMS) for blob in strays]


async def stray_pictures_of_objects(
    stores: TenantStores, until_us: int
) -> AsyncGenerator[list[ListedThing], None]:
    """The same for objects that are not kept, or have another picture."""
    for camera in await stores.blobs.folders("objects"):
        for digit in _HEX:
            listed = await stores.blobs.listing(f"objects/{camera}/{digit}")
            for some in _stored_before(until_us, listed):
                known = await stores.expiry.known_pictures(camera, [blob.key for blob in some])
                strays = [blob for blob in some if blob.key not in known]
                yield [_stray(camera, blob, K.OBJECTS) for blob in strays]


def _stored_before(until_us: int, blobs: Sequence[ListedBlob]) -> list[list[ListedBlob]]:
    """In parts of `_IDS`."""
    old = [blob for blob in blobs if _stored_us(blob) < until_us]
    return [old[n : n + _IDS] for n in range(0, len(old), _IDS)]


def _stray(camera: str, blob: ListedBlob, owner: RetentionKind) -> ListedThing:
    # What it shows is as old as the file, or older.
    at_us = _stored_us(blob)
    return ListedThing(
        K.SNAPSHOTS, camera, at_us, EARLIEST_US, at_us, (blob.key,), blob.size, owner
    )


def _id_in(key: str) -> UUID | None:
    """The id in a name like `clips/<id>.mp4`; None: it is not one of ours."""
    try:
        return UUID(key.rpartition("/")[2].partition(".")[0])
    except ValueError:
        return None


def _stored_us(blob: ListedBlob) -> int:
    """When it was stored; where the storage does not say so, never long enough ago."""
    return LATEST_US if blob.modified_us is None else blob.modified_us
