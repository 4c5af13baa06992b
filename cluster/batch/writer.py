"""Writes the findings of a job: images first, then the rows that refer to them. Idempotent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cluster.batch.extract import Extraction, ExtractRequest
from cluster.batch.identities import PATH_MARGIN_US, Identities, Known
from cluster.batch.replay import Findings, RaisedAlarm, SeenObject
from cluster.core.aio import all_or_none
from cluster.core.log import get_logger
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from pipelines.colour import with_colour
from pipelines.domain import (
    Alarm,
    AlarmSource,
    CameraKey,
    Crop,
    Rule,
    Sighting,
    TrackPath,
)
from pipelines.erasure import Target
from pipelines.errors import AtalaiaError
from pipelines.identity import alarm_snapshot_key, object_snapshot_key
from pipelines.imaging import crop_jpeg

log = get_logger("batch.outcome")

# Crops on their way to the embedder: enough to fill its batches, and a few MB.
INDEXING_IN_FLIGHT = 16


class ObjectIndex(Protocol):
    """The index of seen objects, see `cluster.batch.object_index`."""

    async def add(self, crop: Crop) -> None:
        """Embed a crop and store its vector. Raises AtalaiaError."""
        ...


Extractor = Callable[[str, list[ExtractRequest]], Awaitable[list[Extraction]]]
"""Extracts frames of a file, see `extract.extract`."""


class ResultWriter:
    """Writes the findings of one job.

    Args:
        key: the camera of the results.
        rules: that raised the alarms.
        database, blobs, index: destinations; the caller closes them.
        extractor: makes the snapshots and crops.

    Attributes:
        new_alarms, objects, paths: rows written.
        not_indexed: objects without a crop, or that the index did not take.
    """

    def __init__(
        self,
        key: CameraKey,
        rules: Iterable[Rule],
        database: Database,
        blobs: TenantBlobs,
        index: ObjectIndex,
        extractor: Extractor,
    ) -> None:
        self._camera = key.camera
        self._records = database.tenant(key.tenant)
        self._tracks = database.tracks(key.tenant)
        self._identities = Identities(key, rules)
        self._blobs = blobs
        self._index = index
        self._extract = extractor
        self._slots = asyncio.Semaphore(INDEXING_IN_FLIGHT)
        self.new_alarms = 0
        self.objects = 0
        self.paths = 0
        self.not_indexed = 0

    async def write(self, findings: Findings) -> None:
        """Store all findings. A frame that cannot be extracted is left out and logged.

        Raises:
            UnavailableError: the database or the storage is down.
        """
        known = await self._known(findings)
        findings = await self._not_erased(self._identities.named(findings, known))
        ids = {alarm.id for alarm in known.alarms}
        alarms = [raised for raised in findings.alarms if raised.alarm.id not in ids]
        images = await self._images(alarms, findings.objects)
        await self._write_alarms(alarms, images)
        await self._write_objects(findings.objects, images)
        if findings.paths:
            await self._tracks.record_paths(findings.paths)
        if findings.analysed:
            # After the paths, which it says are there.
            await self._tracks.record_analysed(findings.analysed)
        self.paths += len(findings.paths)

    async def _known(self, findings: Findings) -> Known:
        """What is recorded already of the same time."""
        span = self._identities.span(findings)
        if span is None:
            return Known()
        paths = await self._tracks.paths(self._camera, *span.widened(PATH_MARGIN_US))
        around = span.widened(self._identities.margin_us)
        return Known(paths, await self._records.alarms_between(self._camera, *around))

    async def _not_erased(self, findings: Findings) -> Findings:
        """Without objects that were erased: the records would refuse them, but their pictures and
        vectors would be stored."""
        things: list[Alarm | Sighting | TrackPath] = [
            *(raised.alarm for raised in findings.alarms),
            *(seen.sighting for seen in findings.objects),
            *findings.paths,
        ]
        erased = await self._tracks.erased({Target(t.camera, t.track) for t in things})
        if not erased:
            return findings

        def kept(thing: Alarm | Sighting | TrackPath) -> bool:
            return Target(thing.camera, thing.track) not in erased

        return replace(
            findings,
            alarms=[raised for raised in findings.alarms if kept(raised.alarm)],
            objects=[seen for seen in findings.objects if kept(seen.sighting)],
            paths=[path for path in findings.paths if kept(path)],
        )

    async def _images(
        self, alarms: list[RaisedAlarm], objects: list[SeenObject]
    ) -> dict[int, Extraction]:
        """Images by the `id` of their alarm or object. Those of unreadable files are left out."""
        by_url: dict[str, list[tuple[int, ExtractRequest]]] = {}
        for raised in alarms:
            request = (id(raised), ExtractRequest(raised.frame.media_us))
            by_url.setdefault(raised.frame.url, []).append(request)
        for seen in objects:
            frame, box = seen.best
            by_url.setdefault(frame.url, []).append((id(seen), ExtractRequest(frame.media_us, box)))
        images: dict[int, Extraction] = {}
        for url, requests in by_url.items():
            try:
                extractions = await self._extract(url, [request for _, request in requests])
            except AtalaiaError as error:
                log.warning("frames not extracted", count=len(requests), reason=str(error))
                continue
            images.update(zip((owner for owner, _ in requests), extractions, strict=True))
        return images

    async def _write_alarms(self, alarms: list[RaisedAlarm], images: dict[int, Any]) -> None:
        ready = []
        for raised in alarms:
            snapshot = alarm_snapshot_key(raised.alarm.id) if id(raised) in images else None
            if snapshot is not None:
                await self._blobs.put(snapshot, images[id(raised)])
            ready.append(raised.alarm.model_copy(update={"snapshot": snapshot}))
        # Another job, or live analysis that was late, may have recorded the same meanwhile.
        new = await self._records.record_new_events(
            ready, self._identities.same, self._identities.margin_us
        )
        self._identities.take(new)
        self.new_alarms += len(new)

    async def _write_objects(self, objects: list[SeenObject], images: dict[int, Any]) -> None:
        indexed = await all_or_none(
            self._add_to_index(seen.sighting, images.get(id(seen))) for seen in objects
        )
        if indexed:
            await self._tracks.record_objects(indexed, AlarmSource.BATCH)
        self.objects += len(indexed)

    async def _add_to_index(
        self, sighting: Sighting, pixels: npt.NDArray[np.uint8] | None
    ) -> Sighting:
        """Store crop and vector; returns the sighting with colour and snapshot.

        Args:
            pixels: RGB uint8 (height, width, 3); None: the crop could not be extracted.
        """
        if pixels is None:
            self.not_indexed += 1
            return sighting
        crop = with_colour(Crop(pixels, sighting))
        key = object_snapshot_key(sighting.camera, sighting.track)
        async with self._slots:
            await self._blobs.put(key, await asyncio.to_thread(crop_jpeg, pixels))
            updated = crop.sighting.model_copy(update={"snapshot": key})
            try:
                await self._index.add(Crop(pixels, updated))
            except AtalaiaError as error:
                self.not_indexed += 1
                log.warning("object not indexed", error=str(error))
        return updated
