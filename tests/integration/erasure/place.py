"""What erasure works on, and how tests fill it, break it and look into it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from redis.asyncio import Redis

from cluster.core.erasure_settings import ErasureSettings
from cluster.erasure.receipt import ReceiptKeys
from cluster.erasure.runner import ErasureRunner
from cluster.erasure.stores import ErasureStores
from cluster.stores.bus import AlarmStream, TenantEraser, TrackStream
from cluster.stores.db import ErasureRecord
from pipelines.domain import Alarm, Sighting
from pipelines.erasure import Target
from pipelines.identity import object_snapshot_key
from tests.factories import T0_US, make_alarm, make_path, make_sighting
from tests.integration.retention.site import DIM, MINUTE_US, Site, open_site

KEYS = ReceiptKeys(SecretStr("a-secret-for-the-receipts-of-tests-01"))
SETTLE_US = 180_000_000


class Killed(BaseException):
    """As if the process were gone."""


def killed_at(call: int) -> Callable[[], None]:
    """To be called at each call of a store: raises Killed at that one, counted from 1."""
    left = call

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return tick


class Killing:
    """Stands before a store, and ends the process at one of the calls: before it or after it."""

    def __init__(self, store: Any, tick: Callable[[], None]) -> None:
        self._store = store
        self._tick = tick

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **options: Any) -> Any:
            self._tick()
            result = await found(*args, **options)
            self._tick()
            return result

        return call


@dataclass
class Seen:
    """What the runner reported to its observer."""

    open_ones: int = 0
    ended: list[ErasureRecord] = field(default_factory=list)

    def open(self, count: int) -> None:
        self.open_ones = count

    def done(self, record: ErasureRecord) -> None:
        self.ended.append(record)


@dataclass
class Place:
    """The clock begins long after what the cameras saw."""

    site: Site
    redis: Redis
    seen: Seen = field(default_factory=Seen)

    # ------------------------------------------------------------ filling

    async def object(
        self, number: int = 0, tenant: str = "acme", camera: str = "gate"
    ) -> tuple[Sighting, Alarm]:
        """An object in sight from `number` minutes after T0 for two seconds, and the alarm that it
        raised, each in every store."""
        first_us = T0_US + number * MINUTE_US
        key = object_snapshot_key(camera, f"track-{number}")
        sighting = make_sighting(
            number, tenant, camera=camera, snapshot=key,
            first_seen_us=first_us, last_seen_us=first_us + 2_000_000,
        )  # fmt: skip
        path = make_path(number, tenant, camera=camera, start_us=first_us)
        alarm = make_alarm(number, tenant, camera=camera, track=sighting.track)
        stages = alarm.stages.model_copy(update={"capture_us": first_us + 1_000_000})
        picture = f"alarms/{alarm.id}.jpg"
        alarm = alarm.model_copy(update={"stages": stages, "snapshot": picture})
        blobs, tracks = self.site.blobs[tenant], self.site.database.tracks(tenant)
        await blobs.put(key, b"a crop")
        await blobs.put(picture, b"a picture")
        await blobs.put(f"clips/{alarm.id}.mp4", b"a clip")
        await tracks.record_objects([sighting])
        await tracks.record_paths([path])
        await self.site.database.tenant(tenant).record_alarms([alarm])
        await AlarmStream(self.redis, tenant).publish(alarm)
        await TrackStream(self.redis, tenant).publish([sighting, path])
        await self.site.vectors_of(tenant).upsert([(sighting, [1.0] * DIM)])
        return sighting, alarm

    async def recording(self, number: int = 0, tenant: str = "acme", camera: str = "gate") -> str:
        """The minute of the object of that number; its key."""
        end_us = T0_US + (number + 1) * MINUTE_US
        days_ago = (self.site.clock.now_us() - end_us) / 86_400_000_000
        return await self.site.recording(days_ago, tenant, camera)

    async def ask(self, *targets: Target, tenant: str = "acme") -> UUID:
        erasures = self.site.database.erasures(tenant)
        return (await erasures.ask(list(targets), "case 7", "key:k1")).id

    # ------------------------------------------------------------ running

    def stores(self, tenant: str) -> ErasureStores:
        database = self.site.database
        return ErasureStores(
            tenant=tenant,
            work=database.erasure_work(tenant),
            jobs=database.jobs(tenant),
            retention=database.retention(tenant),
            blobs=self.site.blobs[tenant],
            memory=self.site.vectors_of(tenant),
            redis=TenantEraser(self.redis, tenant),
            audit=database.audit(tenant),
        )

    def runner(
        self, change: Callable[[ErasureStores], ErasureStores] = lambda stores: stores
    ) -> ErasureRunner:
        return ErasureRunner(
            ErasureSettings(backup_days=30, settle_s=SETTLE_US / 1e6),
            erasures=self.site.database.platform_erasures(),
            open_stores=lambda tenant: change(self.stores(tenant)),
            keys=lambda: KEYS,
            platform_audit=self.site.database.platform_audit(),
            clock=self.site.clock,
            observe=self.seen,
            pause_s=0,
        )

    def killing_runner(self, at_call: int) -> ErasureRunner:
        """One that is killed at a call of a store: twice per call, before it and after it."""
        tick = killed_at(at_call)

        def change(stores: ErasureStores) -> ErasureStores:
            named = ("work", "blobs", "memory", "redis", "audit", "jobs", "retention")
            changed: dict[str, Any] = {n: Killing(getattr(stores, n), tick) for n in named}
            return replace(stores, **changed)

        return self.runner(change)

    async def finish(self, tenant: str, erasure: UUID) -> ErasureRecord:
        """Rounds, until it is done; time passes between them."""
        for _ in range(6):
            await self.runner().round()
            record = await self.record(tenant, erasure)
            if record.receipt is not None:
                return record
            self.site.clock.advance(SETTLE_US / 1e6)
        raise AssertionError(f"not done: {record.steps}")

    async def record(self, tenant: str, erasure: UUID) -> ErasureRecord:
        return await self.site.database.erasures(tenant).erasure(erasure)


@asynccontextmanager
async def open_place(folder: Path, redis: Redis) -> AsyncIterator[Place]:
    async with open_site(folder) as site:
        site.clock.advance(86_400)
        yield Place(site, redis)
