"""Images of alarms and objects: stored before the alarm or sighting that names them is sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from cluster.core.log import get_logger
from cluster.media.jpeg import to_jpeg
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import TrackUpdate
from pipelines.colour import with_colour
from pipelines.domain import Alarm, Crop
from pipelines.errors import AtalaiaError
from pipelines.identity import alarm_snapshot_key, object_snapshot_key
from pipelines.imaging import I420, crop_jpeg

log = get_logger("evidence")

MAX_REMEMBERS_IN_FLIGHT = 32


class AlarmPublishers(Protocol):
    async def publish(self, alarm: Alarm) -> None: ...

    def record_updates(self, updates: Sequence[TrackUpdate]) -> None: ...


class Embedder(Protocol):
    async def remember(self, crop: Crop) -> None:
        """Raises AtalaiaError."""
        ...


class Evidence:
    """Takes over alarms and crops; stores their images, then passes both on. Only for the host's
    loop, which owns the work in the background.

    Args:
        blob_url: of the storage of all tenants.
        publishers: where alarms and sightings go once their image is stored.
        embedder: where crops go.
    """

    def __init__(self, blob_url: str, publishers: AlarmPublishers, embedder: Embedder) -> None:
        self.counts = Counter[str]()
        self._blob_url = blob_url
        self._publishers = publishers
        self._embedder = embedder
        self._blobs: dict[str, TenantBlobs] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembers = 0
        # One thread for the images of all objects: those of alarms have the others.
        self._objects = ThreadPoolExecutor(1, thread_name_prefix="objects")

    # ------------------------------------------------------------ alarms

    def raise_alarms(self, alarms: Sequence[Alarm], frame: I420) -> None:
        """Publish the alarms of one frame, each with the frame as its snapshot."""
        self._spawn(self._raise_all(tuple(alarms), frame))

    async def _raise_all(self, alarms: tuple[Alarm, ...], frame: I420) -> None:
        jpeg = await asyncio.to_thread(to_jpeg, frame)
        for alarm in alarms:
            self._spawn(self._raise(alarm, jpeg))

    async def _raise(self, alarm: Alarm, jpeg: bytes) -> None:
        """Store the image, then publish, so that a reader of the alarm finds its snapshot.

        The fsync comes afterwards: it takes 1 ms, but hundreds beside recordings.
        """
        key = alarm_snapshot_key(alarm.id)
        blobs = await self._stored(alarm, key, jpeg)
        await self._publishers.publish(
            alarm.model_copy(update={"snapshot": key if blobs else None})
        )
        if blobs is not None:
            await self._flush(blobs, key)

    async def _stored(self, alarm: Alarm, key: str, jpeg: bytes) -> TenantBlobs | None:
        """Where the image was stored; None where the alarm has to go without."""
        try:
            blobs = self._tenant_blobs(alarm.tenant)
            await blobs.put(key, jpeg, flush=False)
        except AtalaiaError as error:
            log.warning("alarm without snapshot", alarm=str(alarm.id), error=str(error))
            return None
        return blobs

    async def _flush(self, blobs: TenantBlobs, key: str) -> None:
        try:
            await blobs.flush(key)
        except AtalaiaError as error:
            self.counts["snapshots_unflushed"] += 1
            log.warning("snapshot may not outlive a power cut", key=key, error=str(error))

    # ------------------------------------------------------------ objects

    def remember(self, crop: Crop) -> None:
        """Store and embed a crop. If too many are in flight, only its sighting is recorded."""
        if self._remembers >= MAX_REMEMBERS_IN_FLIGHT:
            self.counts["remembers_dropped"] += 1
            self._publishers.record_updates((crop.sighting,))
            return
        self._remembers += 1
        self._spawn(self._remember(crop))

    async def _remember(self, crop: Crop) -> None:
        try:
            shown = await self._with_image(crop)
            self._publishers.record_updates((shown.sighting,))
            await self._embedder.remember(shown)
        except AtalaiaError as error:
            self.counts["remembers_failed"] += 1
            log.warning("object not remembered", error=str(error))
        finally:
            self._remembers -= 1

    async def _with_image(self, crop: Crop) -> Crop:
        """The crop with its colour, and with its image in the blob storage."""
        loop = asyncio.get_running_loop()
        seen, jpeg = await loop.run_in_executor(
            self._objects, lambda: (with_colour(crop), crop_jpeg(crop.pixels))
        )
        key = object_snapshot_key(seen.sighting.camera, seen.sighting.track)
        try:
            await self._tenant_blobs(seen.sighting.tenant).put(key, jpeg, flush=False)
        except AtalaiaError as error:
            self.counts["object_pictures_failed"] += 1
            log.warning("object without image", error=str(error))
            return seen
        return replace(seen, sighting=seen.sighting.model_copy(update={"snapshot": key}))

    # ------------------------------------------------------------ life

    async def aclose(self) -> None:
        """Finish what was taken over. Safe to call twice."""
        while self._tasks:  # a task may start others
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for blobs in self._blobs.values():
            await blobs.aclose()
        self._objects.shutdown(wait=False)

    def _tenant_blobs(self, tenant: str) -> TenantBlobs:
        if tenant not in self._blobs:
            self._blobs[tenant] = TenantBlobs(self._blob_url, tenant)
        return self._blobs[tenant]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", error=str(error), kind=type(error).__name__)
