"""An object in every store of an API's world, and the runner of the cluster that erases it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cluster.core.erasure_settings import ErasureSettings
from cluster.erasure.receipt import ReceiptKeys
from cluster.erasure.runner import ErasureRunner
from cluster.erasure.stores import ErasureStores
from cluster.stores.bus import TenantEraser
from cluster.stores.db import ErasureRecord
from cluster.stores.vectors.tenant import TenantVectors, ensure_collection, open_vectors
from pipelines.clock import SystemClock
from tests.factories import make_alarm, make_camera, make_path, make_sighting
from tests.integration.api.world import World


async def fill(world: World) -> None:
    """An object with its alarm and pictures, in acme and in globex."""
    for tenant in ("acme", "globex"):
        await world.database.tenant(tenant).add_camera(make_camera(tenant))
        seen = make_sighting(1, tenant, snapshot="objects/gate/1.jpg")
        alarm = make_alarm(1, tenant)
        await world.blobs(tenant).put("objects/gate/1.jpg", b"a crop")
        await world.blobs(tenant).put(f"alarms/{alarm.id}.jpg", b"a picture")
        await world.database.tracks(tenant).record_objects([seen])
        await world.database.tracks(tenant).record_paths([make_path(1, tenant)])
        await world.database.tenant(tenant).record_alarms([alarm])
        await world.stream(tenant).publish(alarm)


@dataclass
class Quiet:
    """An observer."""

    opened: int = 0

    def open(self, count: int) -> None:
        self.opened = count

    def done(self, record: ErasureRecord) -> None:
        del record


@asynccontextmanager
async def open_runner(world: World, folder: Path) -> AsyncIterator[ErasureRunner]:
    """As the controller has it, with nothing to wait for, and real vectors."""
    vectors = open_vectors(path=folder / "qdrant")
    await ensure_collection(vectors, "seen", 3)
    for tenant in ("acme", "globex"):
        point = make_sighting(1, tenant), np.ones(3, np.float32)
        await TenantVectors(vectors, "seen", tenant).upsert([point])
    database, settings = world.database, world.deps.settings

    def stores(tenant: str) -> ErasureStores:
        return ErasureStores(
            tenant=tenant,
            work=database.erasure_work(tenant),
            jobs=database.jobs(tenant),
            retention=database.retention(tenant),
            blobs=world.blobs(tenant),
            memory=TenantVectors(vectors, "seen", tenant),
            redis=TenantEraser(world.redis, tenant),
            audit=database.audit(tenant),
        )

    runner = ErasureRunner(
        ErasureSettings(settle_s=0),
        erasures=database.platform_erasures(),
        open_stores=stores,
        keys=lambda: ReceiptKeys.of(settings),
        platform_audit=database.platform_audit(),
        clock=SystemClock(),
        observe=Quiet(),
        pause_s=0,
    )
    yield runner
    await runner.aclose()
    await vectors.close()
