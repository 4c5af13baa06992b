"""Erases chosen objects, store by store. Each method may be broken off anywhere and begun again."""

from __future__ import annotations

import string
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from uuid import UUID

from pydantic import ValidationError

from cluster.clips.clips import clip_keys
from cluster.clips.manifest import Manifest
from cluster.core.log import get_logger
from cluster.erasure.stores import ErasureStores, Wait, remove_files, size_of
from cluster.recording.strays import strays_of
from cluster.retention.listed import table_span
from cluster.retention.stores import all_of
from cluster.retention.sweep import Steps
from cluster.stores.db import ErasureItem
from cluster.stores.db.erase_object import CLIPS, RECORDINGS
from cluster.stores.db.erased import ALARM_PICTURES, VECTORS
from cluster.stores.db.erasures import TARGETS
from pipelines.domain import Alarm
from pipelines.erasure import ItemState, Target, WaitReason
from pipelines.errors import AtalaiaError, NotFoundError, UnavailableError
from pipelines.identity import alarm_snapshot_key
from pipelines.retention import HeldSpan, is_held
from pipelines.times import to_us

log = get_logger("erasure")

MANIFESTS, TABLES = "blobs.manifests", "blobs.tables"
# Objects whose rows go before others have their turn; some 10 ms each.
OBJECTS = 8
# Vectors in one call, and things whose files are removed between two looks at the database.
VECTORS_AT_ONCE, FILES_AT_ONCE = 100, 16
_HEX = "0123456789abcdef"


class ObjectErasure:
    """One erasure of objects.

    Args:
        refused_before_us: what was refused later may still be on its way, and is left alone.
    """

    def __init__(self, stores: ErasureStores, erasure: UUID, refused_before_us: int) -> None:
        self._stores = stores
        self._work = stores.work
        self._erasure = erasure
        self._before_us = refused_before_us

    async def records(self) -> Steps:
        """Mark the objects, remove their rows, and find what shows them."""
        async for items in self._pages(TARGETS, None, OBJECTS):
            for item in items:
                target = Target.of_key(item.key)
                span = await self._work.erase_object(self._erasure, target)
                if span is None:
                    continue
                for pages in (self._work.erase_alarms, self._work.erase_recordings):
                    place = await pages(self._erasure, target, span, None)
                    while place is not None:
                        yield
                        place = await pages(self._erasure, target, span, place)
            yield

    # ------------------------------------------------------------ streams

    async def streams(self) -> Steps:
        """Remove entries about the objects, read or not."""
        targets = {Target.of_key(item.key) for item in await self._erased()}
        for stream in self._stores.redis.streams:
            kind = f"redis.{stream}"
            # Of a run that was broken off.
            await self._remove_entries(stream, await self._work.items(self._erasure, kind))
            async for entries in self._stores.redis.entries(stream, targets):
                if entries:
                    found = [ErasureItem(kind=kind, key=entry.id, bytes=0) for entry in entries]
                    alarms = [e.thing for e in entries if isinstance(e.thing, Alarm)]
                    await self._work.put(self._erasure, [*found, *_files_of(alarms)])
                    await self._remove_entries(stream, found)
                yield

    async def _remove_entries(self, stream: str, items: Sequence[ErasureItem]) -> None:
        kind = f"redis.{stream}"
        own = [item for item in items if item.kind == kind]
        await self._stores.redis.remove(stream, [item.key for item in own])
        await self._work.settle(self._erasure, own, keep=False)

    # ------------------------------------------------------------ vectors

    async def vectors(self, *, keep: bool = True) -> Steps:
        """Forget how the objects look."""
        while items := await self._due(VECTORS, VECTORS_AT_ONCE):
            targets = [Target.of_key(item.key) for item in items]
            known = await self._stores.memory.known(targets)
            sizes = {(VECTORS, target.key): 0 for target in known}
            await self._work.note_sizes(self._erasure, sizes)
            await self._stores.memory.forget(targets)
            await self._work.settle(self._erasure, items, keep=keep)
            yield

    # ------------------------------------------------------------ files

    async def files(self) -> Steps:
        """Remove every file that shows the objects. A clip that was being made when its alarm went
        is stored without any row: clips are looked for again."""
        async for items in self._pages(CLIPS, ItemState.GONE, FILES_AT_ONCE):
            again = {"state": ItemState.FOUND, "bytes": None}
            await self._work.put(self._erasure, [i.model_copy(update=again) for i in items])
            yield
        spans = [_span(item) for item in await self._erased() if item.to_us]
        async for found in self._listed(spans):
            await self._work.put(self._erasure, found)
            yield
        async for _ in self.known_files():
            yield

    async def known_files(self, *, keep: bool = True) -> Steps:
        """Remove the files that are known. One that cannot be removed stops no other.

        Raises:
            UnavailableError: some could not be removed.
        """
        after, problem = "", None
        while items := await self._due("blobs.", FILES_AT_ONCE, after):
            failed = await self._remove_some(items, keep)
            problem = failed or problem
            after = items[-1].key
            yield
        if problem is not None:
            raise UnavailableError(problem.message, hint=problem.hint)

    async def _remove_some(self, items: Sequence[ErasureItem], keep: bool) -> AtalaiaError | None:
        """Look, note what is there, remove it, count it. Returns the last failure."""
        blobs, keys = self._stores.blobs, [_keys_of(item) for item in items]
        sizes = await all_of(size_of(blobs, some) for some in keys)
        there = {
            (item.kind, item.key): size
            for item, size in zip(items, sizes, strict=True)
            if isinstance(size, int)
        }
        await self._work.note_sizes(self._erasure, there)
        results = await all_of(remove_files(blobs, some) for some in keys)
        failures = [
            found if isinstance(found, AtalaiaError) else size
            for found, size in zip(results, sizes, strict=True)
        ]
        gone = [
            item
            for item, failure in zip(items, failures, strict=True)
            if not isinstance(failure, AtalaiaError)
        ]
        await self._work.settle(self._erasure, gone, keep=keep)
        return next((one for one in failures if isinstance(one, AtalaiaError)), None)

    async def _listed(self, spans: Sequence[HeldSpan]) -> AsyncIterator[list[ErasureItem]]:
        """Manifests and tables of the objects' times, and recordings that no row names. Those that
        a hold keeps are noted."""
        async for items in self._manifests(spans):
            yield items
        async for items in self._strays(spans):
            yield items
        cameras = {str(span.camera) for span in spans}
        for camera in sorted(cameras & set(await self._stores.blobs.folders("detections"))):
            tables = self._stores.blobs.pages(f"detections/{camera}", string.digits)
            async with aclosing(tables) as pages:
                async for page in pages:
                    found = [
                        (camera, _item(TABLES, blob.key, *span))
                        for blob in page
                        if (span := table_span(blob.key)) is not None
                    ]
                    yield await self._touching(found, spans)

    async def _strays(self, spans: Sequence[HeldSpan]) -> AsyncIterator[list[ErasureItem]]:
        """Files of recordings without a row, of which one that may touch an object's time is taken
        to do so. What was stored just now may be about to get its row; then it is refused, and
        who stored it removes it."""
        blobs, named = self._stores.blobs, self._work.recording_files
        for span in spans:
            times = {"from_us": span.from_us, "to_us": span.to_us}
            async for strays in strays_of(blobs, str(span.camera), named, **times):
                found = [
                    (one.camera, _item(RECORDINGS, one.blob.key, one.start_us, one.end_us))
                    for one in strays
                    if one.blob.modified_us is None or one.blob.modified_us < self._before_us
                ]
                yield await self._touching(found, spans)

    async def _manifests(self, spans: Sequence[HeldSpan]) -> AsyncIterator[list[ErasureItem]]:
        async with aclosing(self._stores.blobs.pages("exports", _HEX)) as pages:
            async for page in pages:
                for blob in page:
                    if (found := await self._manifest(blob.key)) is not None:
                        yield await self._touching([found], spans)

    async def _manifest(self, key: str) -> tuple[str, ErasureItem] | None:
        """A manifest and its camera; None: it was removed meanwhile, or is none."""
        try:
            manifest = Manifest.model_validate_json(await self._stores.blobs.get(key))
        except NotFoundError:
            return None
        except ValidationError:
            # Nobody knows what it is of: an operator's to judge.
            log.warning("not a manifest", tenant=self._stores.tenant, key=key)
            return None
        asked = to_us(manifest.asked.since), to_us(manifest.asked.until)
        return manifest.camera, _item(MANIFESTS, key, *asked)

    async def _touching(
        self, found: Sequence[tuple[str, ErasureItem]], spans: Sequence[HeldSpan]
    ) -> list[ErasureItem]:
        """Those of the objects' times that no legal hold keeps."""
        items = [(c, i) for c, i in found if is_held(i.from_us, i.to_us, spans, c)]
        if not items:
            return []
        holds = await self._stores.retention.held()
        free = []
        for camera, item in items:
            if is_held(item.from_us, item.to_us, holds, camera):
                await self._work.hold_item(self._erasure, item)
            else:
                free.append(item)
        return free

    # ------------------------------------------------------------ what is under way

    async def settled(self, marked_us: int, from_us: int, now_us: int, settle_us: int) -> None:
        """Returns when what was on its way has arrived. Raises Wait.

        Args:
            marked_us: since when the objects are refused.
            from_us: since when the stores are being left alone.
        """
        for job in await self._stores.jobs.under_way():
            if job.created_us <= marked_us:
                raise Wait(WaitReason.JOB_RUNNING, f"job {job.id}")
        if await self._work.last_refusal_us(self._erasure) > now_us - settle_us:
            raise Wait(WaitReason.IN_SIGHT)
        if now_us < from_us + settle_us:
            raise Wait(WaitReason.SETTLING)

    # ------------------------------------------------------------ items

    async def _due(self, kind: str, limit: int, after: str = "") -> list[ErasureItem]:
        return await self._work.items(
            self._erasure, kind, limit=limit, after=after, refused_before_us=self._before_us
        )

    async def _pages(
        self, kind: str, state: ItemState | None, size: int
    ) -> AsyncIterator[list[ErasureItem]]:
        after = ""
        while items := await self._work.items(
            self._erasure, kind, state=state, limit=size, after=after
        ):
            yield items
            after = items[-1].key

    async def _erased(self) -> list[ErasureItem]:
        """The objects, but for those that a hold keeps."""
        return await self._work.items(self._erasure, TARGETS, state=ItemState.GONE)


def _files_of(alarms: Sequence[Alarm]) -> list[ErasureItem]:
    items = []
    for alarm in alarms:
        at_us = alarm.capture_us
        picture = alarm.snapshot or alarm_snapshot_key(alarm.id)
        items += [_item(ALARM_PICTURES, picture, at_us, at_us)]
        items += [_item(CLIPS, str(alarm.id), at_us, at_us)]
    return items


def _item(kind: str, key: str, from_us: int, to_us: int) -> ErasureItem:
    return ErasureItem(kind=kind, key=key, from_us=from_us, to_us=to_us)


def _keys_of(item: ErasureItem) -> list[str]:
    """A clip consists of several files."""
    return clip_keys(UUID(item.key)) if item.kind == CLIPS else [item.key]


def _span(item: ErasureItem) -> HeldSpan:
    """The time of an object, as a span that things may touch."""
    return HeldSpan(Target.of_key(item.key).camera, item.from_us, item.to_us)
