"""What a job found, written: pictures first, then what points at them; said twice, it is once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cluster.batch.cut import Cut, Wanted
from cluster.batch.fold import Findings, RaisedAlarm, SeenObject
from cluster.blobs import TenantBlobs
from cluster.log import get_logger
from cluster.records import Database
from pipelines.domain import Crop
from pipelines.errors import AtalaiaError

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
        self._blobs = blobs
        self._memory = memory
        self._cut = cutter
        self._slots = asyncio.Semaphore(REMEMBERS_IN_FLIGHT)
        self.new_alarms = 0
        self.objects = 0
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

    async def _pictures(
        self, alarms: list[RaisedAlarm], objects: list[SeenObject]
    ) -> dict[int, Cut]:
        """By the `id` of what they show; without those whose file cannot be read any more."""
        by_url: dict[str, list[tuple[int, Wanted]]] = {}
        for raised in alarms:
            want = (id(raised), Wanted(raised.moment.media_us))
            by_url.setdefault(raised.moment.url, []).append(want)
        for seen in objects:
            want = (id(seen), Wanted(seen.moment.media_us, seen.box))
            by_url.setdefault(seen.moment.url, []).append(want)
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
        shown = [seen for seen in objects if id(seen) in pictures]
        self.not_remembered += len(objects) - len(shown)
        await asyncio.gather(*(self._remember(seen, pictures[id(seen)]) for seen in shown))

    async def _remember(self, seen: SeenObject, pixels: npt.NDArray[np.uint8]) -> None:
        async with self._slots:
            try:
                await self._memory.remember(Crop(pixels, seen.sighting))
                self.objects += 1
            except AtalaiaError as error:
                self.not_remembered += 1
                log.warning("object not remembered", error=str(error))
