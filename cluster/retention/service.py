"""The sweeper with its real dependencies."""

from __future__ import annotations

import asyncio

from cluster.core.log import get_logger
from cluster.core.names import STORAGE_QUOTA
from cluster.core.settings import Settings
from cluster.core.work_orders import WorkOrders
from cluster.retention.disk import UsageProbe, usage_probe
from cluster.retention.metrics import RetentionMetrics
from cluster.retention.stores import MEMORY_TIMEOUT_S, BoundMemory, TenantStores
from cluster.retention.sweeper import Sweeper
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from cluster.stores.vectors.remote import RemoteMemory
from pipelines.clock import Clock

log = get_logger("retention")


class RetentionService:
    """Works from construction on, in the event loop in which it is made.

    Args:
        database: closed by the caller, after this.
    """

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._blob_url = settings.blob_url
        self._database = database
        self._usual_quota = settings.quotas.storage_bytes
        self._blobs: dict[str, TenantBlobs] = {}
        self._memory = RemoteMemory(WorkOrders.of(settings, clock), MEMORY_TIMEOUT_S)
        sweeper = Sweeper(
            settings.retention,
            tenants=self._tenants,
            stores=self._stores,
            quota=self._quota,
            platform_audit=database.platform_audit(),
            probe=_probe(settings),
            clock=clock,
            observe=RetentionMetrics(),
        )
        self._task = asyncio.get_running_loop().create_task(sweeper.run(), name="retention")

    @property
    def running(self) -> bool:
        return not self._task.done()

    async def aclose(self) -> None:
        """Break off the present run; the next one goes on. Idempotent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for blobs in self._blobs.values():
            await blobs.aclose()
        self._blobs.clear()

    async def _tenants(self) -> list[str]:
        return await self._database.platform().at_home()

    async def _quota(self, tenant: str) -> int:
        own = await self._database.platform().quotas(tenant)
        return own.get(STORAGE_QUOTA, self._usual_quota)

    def _stores(self, tenant: str) -> TenantStores:
        if tenant not in self._blobs:
            self._blobs[tenant] = TenantBlobs(self._blob_url, tenant)
        return TenantStores(
            tenant=tenant,
            retention=self._database.retention(tenant),
            expiry=self._database.expiry(tenant),
            blobs=self._blobs[tenant],
            memory=BoundMemory(self._memory, tenant),
            audit=self._database.audit(tenant),
        )


def _probe(settings: Settings) -> UsageProbe | None:
    """None where the storage cannot be measured: the controller runs all the same."""
    try:
        probe = usage_probe(settings)
    except ValueError as error:
        log.error("blobs.url cannot be used", error=str(error))
        return None
    if probe is None and settings.retention.high_water is not None:
        log.warning("retention.high_water has no effect: blobs are in no local folder")
    return probe
