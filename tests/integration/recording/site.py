"""A spool, the records and a storage, and the shipper between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from cluster.recording.segment import SegmentWriter, VideoFormat
from cluster.recording.shipper import Shipper
from cluster.recording.spool import PART, Spool
from cluster.recording.tags import NO_TAGS, Tags
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmLag
from cluster.stores.db import Database, migrate
from pipelines.clock import ManualClock
from pipelines.domain import CameraKey, Segment
from tests.factories import make_camera
from tests.integration.recording.recording_process import FRAMES, stream
from tests.unit.cluster.recording.test_recording_segment import HEIGHT, START_US, WIDTH

GATE = CameraKey("acme", "gate")
S = 1_000_000
GRACE_S = 20.0
ON_ALARM = Tags(rolls_us=(5 * S, 10 * S))
FOR_EVER_US = 2**60


@dataclass
class Site:
    """Spool, records and storage, and the shipper between them."""

    folder: Path
    url: str
    database: Database
    spool: Spool
    shipper: Shipper
    clock: ManualClock

    async def look(self, seconds: float) -> bool:
        """What waits is seen, and again after so long; whether all was well."""
        await self.shipper.round()
        self.clock.advance(seconds)
        return await self.shipper.round()

    def record(self, tags: Tags = NO_TAGS, loop: int = 0, key: CameraKey = GATE) -> Segment:
        """A finished file of 1.4 s in the spool; what the records should come to know of it."""
        units = stream("libx264", loop)
        path = self.spool.folder_of(key) / f"{units[0].capture_us}.mp4{PART}"
        writer = SegmentWriter(path, VideoFormat("h264", WIDTH, HEIGHT), tags)
        for unit in units:
            writer.write(unit)
        done = writer.close()
        assert done is not None
        self.spool.finish(key, done)
        return Segment(
            camera=key.camera,
            start_us=units[0].capture_us,
            end_us=2 * units[-1].capture_us - units[-2].capture_us,
            origin_us=units[0].capture_us,
            codec="h264",
            width=WIDTH,
            height=HEIGHT,
            frames=FRAMES,
            size=done.size,
            sha256=done.sha256,
            blob=f"recordings/{key.camera}/2026/09/21/{units[0].capture_us}.mp4",
        )

    async def rows(self) -> list[Segment]:
        return await self.database.recordings("acme").between(None, 0, FOR_EVER_US, limit=100)

    async def stored(self, segment: Segment) -> bytes:
        async with TenantBlobs(self.url, "acme") as blobs:
            return await blobs.get(segment.blob)

    @property
    def files(self) -> list[str]:
        return [path.name for path in self.spool.folder.glob("*/*/*")]


@asynccontextmanager
async def open_site(folder: Path, blobs_url: str, redis: Redis) -> AsyncIterator[Site]:
    """A site of the tenant acme with its camera `gate`, whose clock stands still."""
    url = f"sqlite:///{folder}/atalaia.db"
    await migrate(url)
    clock = ManualClock(START_US)
    spool = Spool(folder / "spool", 1 << 30)
    async with Database(url) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        await database.tenant("acme").add_camera(make_camera())
        open_blobs = partial(TenantBlobs, blobs_url)
        lag = AlarmLag(redis)
        shipper = Shipper(spool, database, open_blobs, lag.waiting_s, grace_s=GRACE_S, clock=clock)
        yield Site(folder, blobs_url, database, spool, shipper, clock)
        await shipper.aclose()
    spool.close()
