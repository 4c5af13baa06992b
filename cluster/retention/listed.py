"""Files that no row names: clips, manifests of exports, tables of jobs. Found by listing the
storage, in parts, and judged by what they belong to."""

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
from cluster.retention.age import AT_ONCE, Steps
from cluster.retention.stores import TenantStores, remove_all
from cluster.retention.tally import Tally
from cluster.stores.blobs.tenant import ListedBlob
from pipelines.errors import AtalaiaError, InputError, NotFoundError
from pipelines.retention import (
    EARLIEST_US,
    LATEST_US,
    Days,
    HeldSpan,
    Retention,
    RetentionKind,
    cutoff_us,
    may_go,
    shorter,
)
from pipelines.times import to_us

# Ids begin with a hexadecimal digit, and times with a decimal one, so that a listing is read in
# parts of about the same size.
_HEX = "0123456789abcdef"
# Ids of alarms in one statement.
_IDS = 200
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
    """

    kind: RetentionKind
    camera: str
    age_us: int
    start_us: int
    end_us: int
    files: tuple[str, ...]
    size: int


class ListedSweep:
    """One run for one tenant; the arguments are those of `AgeSweep`."""

    def __init__(
        self, stores: TenantStores, retention: Retention, now_us: int, tally: Tally
    ) -> None:
        self._stores = stores
        self._retention = retention
        self._now_us = now_us
        self._tally = tally

    async def steps(self) -> Steps:
        """Remove all that has reached its age. A kind that fails is left for the next run."""
        for kind, found in (
            (K.CLIPS, clips(self._stores)),
            (K.EXPORTS, self._exports()),
            (K.PATHS, tables(self._stores)),
        ):
            if self._shortest(kind) is None:
                continue
            try:
                async with aclosing(found):
                    async for things in found:
                        if not await self._sweep(things):
                            break
                        yield
            except AtalaiaError as error:
                self._tally.fail(kind, error)

    async def _sweep(self, things: Sequence[ListedThing]) -> bool:
        """Remove what may go of some things. Returns False if several failed at once."""
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
        until_us = cutoff_us(self._now_us, self._retention.days(thing.kind, thing.camera))
        aged = until_us is not None and thing.age_us < until_us
        return aged and may_go(thing.start_us, thing.end_us, LATEST_US, holds, thing.camera)

    def _exports(self) -> AsyncGenerator[list[ListedThing], None]:
        """Only those that were stored so long ago that one of the limits could apply."""
        until_us = cutoff_us(self._now_us, self._shortest(K.EXPORTS))
        return exports(self._stores, EARLIEST_US if until_us is None else until_us, self._tally)

    def _shortest(self, kind: RetentionKind) -> Days | None:
        """The shortest limit of any camera."""
        found = self._retention.days(kind)
        for camera in self._retention.policy.cameras:
            found = shorter(found, self._retention.days(kind, camera))
        return found


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


def _id_in(key: str) -> UUID | None:
    """The id in a name like `clips/<id>.mp4`; None: it is not one of ours."""
    try:
        return UUID(key.rpartition("/")[2].partition(".")[0])
    except ValueError:
        return None


def _stored_us(blob: ListedBlob) -> int:
    """When it was stored; where the storage does not say so, never long enough ago."""
    return LATEST_US if blob.modified_us is None else blob.modified_us
