"""The runner with its real dependencies."""

from __future__ import annotations

import asyncio
from functools import partial

from redis.asyncio import Redis

from cluster.core.settings import Settings
from cluster.core.work_orders import WorkOrders
from cluster.erasure.metrics import ErasureMetrics
from cluster.erasure.receipt import ReceiptKeys
from cluster.erasure.runner import ErasureRunner
from cluster.erasure.stores import MEMORY_TIMEOUT_S, BoundMemory, ErasureStores
from cluster.stores.blobs.folder import StorageFolder
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import TenantEraser
from cluster.stores.bus.spool import MAX_SPOOL_BYTES
from cluster.stores.db import Database
from cluster.stores.vectors.remote import RemoteMemory
from pipelines.clock import Clock


class ErasureService:
    """Works from construction on, in the event loop in which it is made.

    Args:
        database, redis: closed by the caller, after this.
    """

    def __init__(self, settings: Settings, database: Database, redis: Redis, clock: Clock) -> None:
        self._blob_url = settings.blob_url
        folder = StorageFolder.of(settings.blob_url)
        self._before = folder.require_marked if folder else None
        self._database = database
        self._redis = redis
        self._blobs: dict[str, TenantBlobs] = {}
        self._memory = RemoteMemory(WorkOrders.of(settings, clock), MEMORY_TIMEOUT_S)
        self._runner = ErasureRunner(
            settings.erasure,
            erasures=database.platform_erasures(),
            open_stores=self._stores,
            keys=partial(ReceiptKeys.of, settings),
            platform_audit=database.platform_audit(),
            clock=clock,
            observe=ErasureMetrics(),
            spool_bytes=MAX_SPOOL_BYTES + settings.recording.spool_mb * 1024 * 1024,
        )
        self._task = asyncio.get_running_loop().create_task(self._runner.run(), name="erasure")

    @property
    def running(self) -> bool:
        return not self._task.done()

    async def aclose(self) -> None:
        """Break off what is under way; the next service goes on. Idempotent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._runner.aclose()
        for blobs in self._blobs.values():
            await blobs.aclose()
        self._blobs.clear()

    def _stores(self, tenant: str) -> ErasureStores:
        if tenant not in self._blobs:
            # What lies on a disk that is not mounted must not count as erased.
            self._blobs[tenant] = TenantBlobs(self._blob_url, tenant, before=self._before)
        return ErasureStores(
            tenant=tenant,
            work=self._database.erasure_work(tenant),
            jobs=self._database.jobs(tenant),
            retention=self._database.retention(tenant),
            blobs=self._blobs[tenant],
            memory=BoundMemory(self._memory, tenant),
            redis=TenantEraser(self._redis, tenant),
            audit=self._database.audit(tenant),
        )
