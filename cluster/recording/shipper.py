"""From the spool to the storage and the records: nothing leaves the disk before both have it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.recording.retention import Verdict, decided_us, judge
from cluster.recording.segment import SegmentFile
from cluster.recording.spool import Spool, Spooled
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import AlarmQuery, Database
from pipelines.clock import Clock
from pipelines.domain import Segment
from pipelines.errors import AtalaiaError, UnavailableError, UnknownThingError
from pipelines.times import moment_of

log = get_logger("recording.shipper")

AT_ONCE = 4
"""Files on their way at the same time: an upload waits for the network most of its time."""
LOOK_S = 1.0
"""How often the spool is looked at: a file without an alarm is judged at its end, and again when
no alarm can come any more."""
ADOPT_S = 60.0
BACKOFF_INITIAL_S, BACKOFF_MAX_S = 1.0, 60.0
MOMENT_S = 1.0
"""Some alarm is always on its way where many are raised."""
_NEVER_US = 2**62


def blob_key(camera: str, start_us: int) -> str:
    """Where a segment lies in its tenant's storage, by UTC date."""
    return f"recordings/{camera}/{moment_of(start_us):%Y/%m/%d}/{start_us}.mp4"


def segment_of(camera: str, file: SegmentFile) -> Segment:
    return Segment(
        camera=camera,
        start_us=file.start_us,
        end_us=file.end_us,
        origin_us=file.origin_us,
        codec=file.video.codec,
        width=file.video.width,
        height=file.video.height,
        frames=file.frames,
        audio=file.audio,
        size=file.size,
        sha256=file.sha256,
        blob=blob_key(camera, file.start_us),
        masked=file.tags.masked,
        note=file.tags.note,
    )


class Shipper:
    """Judges and sends what waits in a spool, for as long as it runs. Belongs to one event loop.

    Args:
        spool: of this process; the caller's to close.
        database: the records; the caller's to close.
        open_blobs: the storage of a tenant; closed here.
        alarms_wait_s: for how many seconds the oldest alarm of a tenant that is not recorded has
            been on its way (`stores.bus.AlarmLag`); raises UnavailableError where that cannot
            be known. While it is long, or unknown, nothing is let go.
        grace_s: how long an alarm may take to come into the records.

    Attributes:
        counts: files by what became of them: shipped, let_go (no alarm), refused.
        trouble: why files wait that could be sent, for people; empty while all is well.
    """

    def __init__(
        self,
        spool: Spool,
        database: Database,
        open_blobs: Callable[[str], TenantBlobs],
        alarms_wait_s: Callable[[str], Awaitable[float]],
        *,
        grace_s: float,
        clock: Clock,
        backoff: Backoff | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.trouble = ""
        self._spool = spool
        self._database = database
        self._open_blobs = open_blobs
        self._alarms_wait_s = alarms_wait_s
        self._through_since_us: dict[str, int] = {}
        self._grace_us = round(grace_s * 1e6)
        self._clock = clock
        self._backoff = backoff or Backoff(BACKOFF_INITIAL_S, BACKOFF_MAX_S)
        self._blobs: dict[str, TenantBlobs] = {}
        self._asked: set[SegmentFile] = set()
        self._kept: set[SegmentFile] = set()
        self._storage_trouble = ""
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Adopt what dead processes left, and send what waits, until cancelled."""
        adopt_s = self._clock.monotonic()
        while True:
            try:
                if self._clock.monotonic() >= adopt_s:
                    await self._adopt()
                    adopt_s = self._clock.monotonic() + ADOPT_S
                well = await self.round()
            except Exception:
                # Top of the task that empties the spool: it must outlive any bug.
                log.exception("shipping failed")
                well = False
            if well:
                self._backoff.reset()
            await asyncio.sleep(LOOK_S if well else self._backoff.next_delay_s())

    async def round(self) -> bool:
        """Judge and send everything that is due; False where something has to be tried again."""
        waiting = self._spool.waiting()
        files = {spooled.file for spooled in waiting}
        self._asked &= files
        self._kept &= files
        trouble = ""
        alarms_wait = await self._watch_alarms(waiting)
        try:
            for spooled in waiting:
                await self._judge(spooled)
        except UnavailableError as error:
            trouble = error.message
        # Judged first: while the storage is away, what nobody needs must not fill the disk.
        kept = [spooled for spooled in waiting if spooled.file in self._kept]
        self._storage_trouble = ""
        await asyncio.gather(*(self._send(spooled) for spooled in kept))
        trouble = trouble or self._storage_trouble
        told = trouble or alarms_wait
        if told and not self.trouble:
            log.warning("recordings wait", reason=told, files=len(waiting))
        self.trouble = told
        return not trouble

    async def aclose(self) -> None:
        """Close the storages. Call after `run` was cancelled."""
        for blobs in self._blobs.values():
            await blobs.aclose()
        self._blobs.clear()

    # ------------------------------------------------------------ helpers

    async def _adopt(self) -> None:
        if adopted := await asyncio.to_thread(self._spool.adopt):
            log.info("recordings that others had left are sent", files=adopted)

    async def _watch_alarms(self, waiting: list[Spooled]) -> str:
        """Learn since when the alarms that may keep these files have got through; why not, for
        people, where they do not now."""
        tenants = sorted({s.key.tenant for s in waiting if s.file.tags.rolls_us is not None})
        through = await asyncio.gather(*(self._get_through(tenant) for tenant in tenants))
        now_us = self._clock.now_us()
        self._through_since_us = {
            tenant: self._through_since_us.get(tenant, now_us)
            for tenant, is_through in zip(tenants, through, strict=True)
            if is_through
        }
        return "" if all(through) else "alarms do not reach the records."

    async def _get_through(self, tenant: str) -> bool:
        try:
            # An alarm that a file waits for is at least `grace_s` old when the file is judged.
            bearable_s = max(MOMENT_S, self._grace_us / 2e6)
            return await self._alarms_wait_s(tenant) <= bearable_s
        except UnavailableError:
            return False

    def _settled_us(self, spooled: Spooled) -> int:
        """From when on no alarm for this file can come any more.

        While alarms do not get through, never; afterwards those that waited need their time, too.
        """
        since_us = self._through_since_us.get(spooled.key.tenant, _NEVER_US)
        return max(decided_us(spooled.file, self._grace_us), since_us + self._grace_us)

    async def _judge(self, spooled: Spooled) -> None:
        """Raises UnavailableError: the records cannot be asked."""
        file = spooled.file
        if file in self._kept:
            return
        now_us, settled_us = self._clock.now_us(), self._settled_us(spooled)
        if file in self._asked and now_us < settled_us:
            return
        records = self._database.tenant(spooled.key.tenant)

        async def alarmed(from_us: int, to_us: int) -> bool:
            query = AlarmQuery(
                camera=spooled.key.camera, since_us=max(0, from_us), until_us=to_us + 1, limit=1
            )
            return bool((await records.alarms(query)).items)

        verdict = await judge(file, now_us >= settled_us, alarmed)
        if verdict is Verdict.KEEP:
            self._kept.add(file)
        elif verdict is Verdict.WAIT:
            self._asked.add(file)
        else:
            self.counts["let_go"] += 1
            await asyncio.to_thread(self._spool.remove, spooled)

    async def _send(self, spooled: Spooled) -> None:
        async with self._slots:
            if self._storage_trouble:
                return  # one that waits for a time-out is enough
            try:
                await self._ship(spooled)
                self.counts["shipped"] += 1
            except UnknownThingError as error:
                # Not to be mended by waiting: the tenant was erased, or the file is gone.
                log.error("a recording is refused", camera=spooled.key.room, reason=error.message)
                self.counts["refused"] += 1
            except AtalaiaError as error:
                self._storage_trouble = error.message
                return
            await asyncio.to_thread(self._spool.remove, spooled)

    async def _ship(self, spooled: Spooled) -> None:
        """Raises UnknownThingError: it will never be taken; other errors: try again."""
        tenant, camera = spooled.key
        segment = segment_of(camera, spooled.file)
        blobs = self._blobs.get(tenant) or self._open_blobs(tenant)
        self._blobs[tenant] = blobs
        await blobs.put_file(segment.blob, spooled.file.path)
        try:
            await self._database.recordings(tenant).add(segment)
        except UnknownThingError:
            await blobs.delete(segment.blob)
            raise
        log.debug("recording shipped", camera=spooled.key.room, blob=segment.blob)
