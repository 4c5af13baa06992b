"""Ships files from the outbox to storage and database. Files stay on disk until both have them."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.recording.outbox import PendingSegment, SegmentOutbox
from cluster.recording.retention import Verdict, decide, final_us
from cluster.recording.segment import SegmentFile
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import AlarmQuery, Database
from pipelines.clock import Clock
from pipelines.domain import CameraKey, Segment
from pipelines.errors import AtalaiaError, NotFoundError, UnavailableError
from pipelines.times import moment_of

log = get_logger("recording.shipper")

MAX_UPLOADS = 4
"""Parallel uploads. An upload mostly waits for the network."""
POLL_S = 1.0
"""Interval of checks. A file without an alarm is checked when it ends, and again when no further
alarm is possible."""
ADOPT_S = 60.0
"""Interval of looking for files of dead processes. They are in no hurry."""
# The first retry is quick; an outage of hours costs one attempt per minute.
BACKOFF_INITIAL_S, BACKOFF_MAX_S = 1.0, 60.0
MIN_PASSAGE_S = 1.0
"""Under a steady flow of alarms one is always in transit, so a delay up to this long is normal."""
SET_US = 1_000_000
"""A clock that is slewed moves by milliseconds between two rounds."""
_NEVER_US = 2**62


def blob_key(camera: str, start_us: int) -> str:
    """Key of a segment in its tenant's storage, by UTC date."""
    return f"recordings/{camera}/{moment_of(start_us):%Y/%m/%d}/{start_us}.mp4"


def segment_of(camera: str, file: SegmentFile) -> Segment:
    """The database row for a file."""
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
    """Decides on the files in an outbox and ships those that are kept. Belongs to one event loop.

    Args:
        outbox: of this process; the caller closes it.
        database: closed by the caller.
        open_blobs: opens the storage of a tenant; closed here.
        alarms_wait_s: how many seconds the oldest alarm of a tenant has been in transit to the
            database (`stores.bus.AlarmLag`). Raises UnavailableError if that is unknown. While
            it is long or unknown, no file is dropped.
        grace_s: how long an alarm may take to reach the database.
        claim: called before files are shipped: marks the storage as ours when it is first used.
            Raises UnavailableError. The storages refuse what is not ours by themselves.

    Attributes:
        counts: files by outcome: shipped, let_go (no alarm), refused.
        problem: why files wait that could be shipped, for people; empty if all is well.
    """

    def __init__(
        self,
        outbox: SegmentOutbox,
        database: Database,
        open_blobs: Callable[[str], TenantBlobs],
        alarms_wait_s: Callable[[str], Awaitable[float]],
        *,
        grace_s: float,
        clock: Clock,
        backoff: Backoff | None = None,
        claim: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.problem = ""
        self._outbox = outbox
        self._database = database
        self._open_blobs = open_blobs
        self._alarms_wait_s = alarms_wait_s
        self._claim = claim
        self._passing_since_us: dict[str, int] = {}
        self._offset_us: int | None = None
        self._grace_us = round(grace_s * 1e6)
        self._clock = clock
        self._backoff = backoff or Backoff(BACKOFF_INITIAL_S, BACKOFF_MAX_S)
        self._blobs: dict[str, TenantBlobs] = {}
        self._checked: set[SegmentFile] = set()
        self._to_send: set[SegmentFile] = set()
        self._storage_problem = ""
        self._slots = asyncio.Semaphore(MAX_UPLOADS)

    async def run(self) -> None:
        """Adopt the files of dead processes and ship what waits, until cancelled."""
        adopt_s = self._clock.monotonic()
        while True:
            try:
                if self._clock.monotonic() >= adopt_s:
                    await self._adopt()
                    adopt_s = self._clock.monotonic() + ADOPT_S
                well = await self.round()
            except Exception:
                # Top of the task that empties the outbox: it must survive any bug.
                log.exception("shipping failed")
                well = False
            if well:
                self._backoff.reset()
            await asyncio.sleep(POLL_S if well else self._backoff.next_delay_s())

    async def round(self) -> bool:
        """Decide on every file and ship those that are kept; False if something must be retried."""
        waiting = self._outbox.waiting()
        files = {pending.file for pending in waiting}
        self._checked &= files
        self._to_send &= files
        problem = ""
        alarms_wait = await self._watch_alarms(waiting)
        try:
            for pending in waiting:
                await self._decide(pending)
        except UnavailableError as error:
            problem = error.message
        # Decisions come first: while storage is down, unneeded files must not fill the disk.
        kept = [pending for pending in waiting if pending.file in self._to_send]
        self._storage_problem = await self._unclaimed() if kept else ""
        cameras = defaultdict[CameraKey, list[PendingSegment]](list)
        for pending in kept:
            cameras[pending.key].append(pending)
        await asyncio.gather(*(self._send_all(files) for files in cameras.values()))
        problem = problem or self._storage_problem
        reason = problem or alarms_wait
        if reason and not self.problem:
            log.warning("recordings are waiting", reason=reason, files=len(waiting))
        self.problem = reason
        return not problem

    async def aclose(self) -> None:
        """Close the storages. Call it after cancelling `run`."""
        for blobs in self._blobs.values():
            await blobs.aclose()
        self._blobs.clear()

    # ------------------------------------------------------------ helpers

    async def _adopt(self) -> None:
        if adopted := await asyncio.to_thread(self._outbox.adopt):
            log.info("adopted recordings of dead processes", files=adopted)

    async def _unclaimed(self) -> str:
        """Why the storage cannot be claimed, for people; empty if that was possible."""
        try:
            if self._claim is not None:
                await self._claim()
        except UnavailableError as error:
            return error.message
        return ""

    async def _watch_alarms(self, waiting: list[PendingSegment]) -> str:
        """Update since when the alarms of each tenant reach the database. Returns why they do not,
        for people; empty if they do."""
        tenants = sorted({s.key.tenant for s in waiting if s.file.tags.rolls_us is not None})
        passing = await asyncio.gather(*(self._alarms_pass(tenant) for tenant in tenants))
        now_us = self._clock.now_us()
        if self._was_set(now_us):
            self._passing_since_us.clear()
        self._passing_since_us = {
            tenant: self._passing_since_us.get(tenant, now_us)
            for tenant, passes in zip(tenants, passing, strict=True)
            if passes
        }
        return "" if all(passing) else "alarms do not reach the database."

    def _was_set(self, now_us: int) -> bool:
        """Whether UTC was set since the last call. If it was set ahead, alarms that are on their
        way seem to be late: they get their time from now on."""
        offset_us = now_us - round(self._clock.monotonic() * 1e6)
        before_us, self._offset_us = self._offset_us, offset_us
        return before_us is not None and abs(offset_us - before_us) > SET_US

    async def _alarms_pass(self, tenant: str) -> bool:
        """Whether the tenant's alarms reach the database without unusual delay."""
        try:
            # An alarm that a file waits for is at least `grace_s` old when the file is decided on.
            max_wait_s = max(MIN_PASSAGE_S, self._grace_us / 2e6)
            return await self._alarms_wait_s(tenant) <= max_wait_s
        except UnavailableError:
            return False

    def _settled_us(self, pending: PendingSegment) -> int:
        """When no further alarm for this file is possible, UTC microseconds.

        Never while alarms are held up. Afterwards, held-up alarms get the grace time too.
        """
        since_us = self._passing_since_us.get(pending.key.tenant, _NEVER_US)
        return max(final_us(pending.file, self._grace_us), since_us + self._grace_us)

    async def _decide(self, pending: PendingSegment) -> None:
        """Decide on one file. Raises UnavailableError: the database is down."""
        file = pending.file
        if file in self._to_send:
            return
        now_us, settled_us = self._clock.now_us(), self._settled_us(pending)
        if file in self._checked and now_us < settled_us:
            return
        records = self._database.tenant(pending.key.tenant)

        async def has_alarm(from_us: int, to_us: int) -> bool:
            query = AlarmQuery(
                camera=pending.key.camera, since_us=max(0, from_us), until_us=to_us + 1, limit=1
            )
            return bool((await records.alarms(query)).items)

        verdict = await decide(file, now_us >= settled_us, has_alarm)
        if verdict is Verdict.KEEP:
            self._to_send.add(file)
        elif verdict is Verdict.WAIT:
            self._checked.add(file)
        else:
            self.counts["let_go"] += 1
            await asyncio.to_thread(self._outbox.remove, pending)

    async def _send_all(self, files: list[PendingSegment]) -> None:
        """Files of one camera, one after the other: each must find its place in the index."""
        for pending in files:
            await self._send(pending)

    async def _send(self, pending: PendingSegment) -> None:
        async with self._slots:
            if self._storage_problem:
                return  # one upload that waits for a time-out is enough
            try:
                await self._ship(pending)
                self.counts["shipped"] += 1
            except NotFoundError as error:
                # Retrying does not help: the tenant was erased, or the file is gone.
                log.error("recording refused", camera=pending.key.room, reason=error.message)
                self.counts["refused"] += 1
            except AtalaiaError as error:
                self._storage_problem = error.message
                return
            await asyncio.to_thread(self._outbox.remove, pending)

    async def _ship(self, pending: PendingSegment) -> None:
        """Upload one file and enter it in the database.

        Raises:
            NotFoundError: it will never be accepted.
            AtalaiaError: try again later.
        """
        tenant, camera = pending.key
        segment = await self._placed(tenant, segment_of(camera, pending.file))
        if segment is None:
            return
        blobs = self._blobs.get(tenant) or self._open_blobs(tenant)
        self._blobs[tenant] = blobs
        await blobs.put_file(segment.blob, pending.file.path)
        try:
            await self._database.recordings(tenant).add(segment)
        except NotFoundError:
            await blobs.delete(segment.blob)
            raise
        log.debug("recording shipped", camera=pending.key.room, blob=segment.blob)

    async def _placed(self, tenant: str, segment: Segment) -> Segment | None:
        """The segment, microseconds later where another one has its start: a clock that was set
        back gives times twice. None: it was shipped before, and masks have been painted into it
        since, so that the original must not come back. Raises UnavailableError."""
        recordings = self._database.recordings(tenant)
        start_us = segment.start_us
        while (known := await recordings.at(segment.camera, start_us)) is not None:
            if known.sha256 == segment.sha256:
                break  # this one, shipped before
            if known.masks_us is not None and known.end_us == segment.end_us:
                return None
            start_us += 1
        blob = blob_key(segment.camera, start_us)
        return segment.model_copy(update={"start_us": start_us, "blob": blob})
