"""What a job found, written: pictures first, then what points at them; said twice, it is once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cluster.batch.extract import Cut, Wanted
from cluster.batch.replay import Findings, RaisedAlarm, SeenObject
from cluster.core.log import get_logger
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from pipelines.colour import with_colour
from pipelines.domain import AlarmSource, Crop, Sighting
from pipelines.errors import AtalaiaError
from pipelines.identity import object_snapshot_key
from pipelines.imaging import crop_jpeg

log = get_logger("batch.outcome")

# Crops on their way to the embedder at once: enough to fill its batches, and a few MB.
REMEMBERS_IN_FLIGHT = 16


class Memory(Protocol):
    """Where objects are remembered by their looks."""

    async def remember(self, crop: Crop) -> None:
        """Raises AtalaiaError."""
        ...


Cutter = Callable[[str, list[Wanted]], Awaitable[list[Cut]]]
"""Pictures of a file, see `cut.cut`."""


class Outcome:
    """Writes the findings of one job.

    Args:
        tenant: whose.
        database, blobs, memory: where to; they stay the caller's to close.
        cutter: makes the pictures.
    """

    def __init__(
        self, tenant: str, database: Database, blobs: TenantBlobs, memory: Memory, cutter: Cutter
    ) -> None:
        self._records = database.tenant(tenant)
        self._tracks = database.tracks(tenant)
        self._blobs = blobs
        self._memory = memory
        self._cut = cutter
        self._slots = asyncio.Semaphore(REMEMBERS_IN_FLIGHT)
        self.new_alarms = 0
        self.objects = 0
        self.paths = 0
        self.not_remembered = 0

    async def write(self, findings: Findings) -> None:
        """Store everything. What fails of one picture costs that picture, and is counted.

        Raises:
            UnavailableError: the records are away.
        """
        known = await self._records.known_alarms([r.alarm.id for r in findings.alarms])
        alarms = [raised for raised in findings.alarms if raised.alarm.id not in known]
        pictures = await self._pictures(alarms, findings.objects)
        await self._write_alarms(alarms, pictures)
        await self._write_objects(findings.objects, pictures)
        if findings.paths:
            await self._tracks.record_paths(findings.paths)
        self.paths += len(findings.paths)

    async def _pictures(
        self, alarms: list[RaisedAlarm], objects: list[SeenObject]
    ) -> dict[int, Cut]:
        """By the `id` of what they show; without those whose file cannot be read any more."""
        by_url: dict[str, list[tuple[int, Wanted]]] = {}
        for raised in alarms:
            want = (id(raised), Wanted(raised.moment.media_us))
            by_url.setdefault(raised.moment.url, []).append(want)
        for seen in objects:
            moment, box = seen.best
            by_url.setdefault(moment.url, []).append((id(seen), Wanted(moment.media_us, box)))
        pictures: dict[int, Cut] = {}
        for url, wanted in by_url.items():
            try:
                cuts = await self._cut(url, [want for _, want in wanted])
            except AtalaiaError as error:
                log.warning("pictures are left out", count=len(wanted), reason=str(error))
                continue
            pictures.update(zip((owner for owner, _ in wanted), cuts, strict=True))
        return pictures

    async def _write_alarms(self, alarms: list[RaisedAlarm], pictures: dict[int, Any]) -> None:
        ready = []
        for raised in alarms:
            snapshot = f"alarms/{raised.alarm.id}.jpg" if id(raised) in pictures else None
            if snapshot is not None:
                await self._blobs.put(snapshot, pictures[id(raised)])
            ready.append(raised.alarm.model_copy(update={"snapshot": snapshot}))
        if ready:
            self.new_alarms += await self._records.record_alarms(ready)

    async def _write_objects(self, objects: list[SeenObject], pictures: dict[int, Any]) -> None:
        told = await asyncio.gather(
            *(self._remember(seen.sighting, pictures.get(id(seen))) for seen in objects)
        )
        if told:
            await self._tracks.record_objects(list(told), AlarmSource.BATCH)
        self.objects += len(told)

    async def _remember(self, sighting: Sighting, pixels: npt.NDArray[np.uint8] | None) -> Sighting:
        """Store picture and vector; what is then known of the object."""
        if pixels is None:
            self.not_remembered += 1
            return sighting
        crop = with_colour(Crop(pixels, sighting))
        key = object_snapshot_key(sighting.camera, sighting.track)
        async with self._slots:
            await self._blobs.put(key, await asyncio.to_thread(crop_jpeg, pixels))
            shown = crop.sighting.model_copy(update={"snapshot": key})
            try:
                await self._memory.remember(Crop(pixels, shown))
            except AtalaiaError as error:
                self.not_remembered += 1
                log.warning("object not remembered", error=str(error))
        return shown
