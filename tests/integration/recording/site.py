"""An outbox, a database and a storage, with the shipper between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from cluster.recording.outbox import PART, SegmentOutbox
from cluster.recording.segment import SegmentWriter, VideoFormat
from cluster.recording.shipper import Shipper
from cluster.recording.tags import NO_TAGS, Tags
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmLag
from cluster.stores.db import Database, migrate
from pipelines.clock import ManualClock
from pipelines.domain import CameraKey, Segment
from tests.factories import CIPHER, make_camera
from tests.integration.recording.recording_process import FRAMES, stream
from tests.unit.cluster.recording.test_recording_segment import HEIGHT, START_US, WIDTH

GATE = CameraKey("acme", "gate")
S = 1_000_000
GRACE_S = 20.0
ON_ALARM = Tags(rolls_us=(5 * S, 10 * S))
FOR_EVER_US = 2**60


@dataclass
class Site:
    """Outbox, database and storage, with the shipper between them."""

    folder: Path
    url: str
    database: Database
    outbox: SegmentOutbox
    shipper: Shipper
    clock: ManualClock

    async def two_rounds(self, seconds: float) -> bool:
        """Run two shipper rounds with time in between; returns whether the second succeeded."""
        await self.shipper.round()
        self.clock.advance(seconds)
        return await self.shipper.round()

    def record(self, tags: Tags = NO_TAGS, loop: int = 0, key: CameraKey = GATE) -> Segment:
        """Add a finished file of 1.4 s to the outbox; returns the expected database row."""
        units = stream("libx264", loop)
        path = self.outbox.folder_of(key) / f"{units[0].capture_us}.mp4{PART}"
        writer = SegmentWriter(path, VideoFormat("h264", WIDTH, HEIGHT), tags)
        for unit in units:
            writer.write(unit)
        done = writer.close()
        assert done is not None
        self.outbox.finish(key, done)
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
        return [path.name for path in self.outbox.folder.glob("*/*/*")]


@asynccontextmanager
async def open_site(folder: Path, blobs_url: str, redis: Redis) -> AsyncIterator[Site]:
    """A site of the tenant acme with its camera `gate`, whose clock stands still."""
    url = f"sqlite:///{folder}/atalaia.db"
    await migrate(url)
    clock = ManualClock(START_US)
    outbox = SegmentOutbox(folder / "outbox", 1 << 30)
    async with Database(url, cipher=CIPHER) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        await database.tenant("acme").add_camera(make_camera())
        open_blobs = partial(TenantBlobs, blobs_url)
        lag = AlarmLag(redis)
        shipper = Shipper(outbox, database, open_blobs, lag.waiting_s, grace_s=GRACE_S, clock=clock)
        yield Site(folder, blobs_url, database, outbox, shipper, clock)
        await shipper.aclose()
    outbox.close()
