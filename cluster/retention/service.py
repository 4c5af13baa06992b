"""The sweeper with its real dependencies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from redis.asyncio import Redis

from cluster.core.log import get_logger
from cluster.core.names import STORAGE_QUOTA
from cluster.core.settings import Settings
from cluster.core.work_orders import WorkOrders
from cluster.recording.footage import FootageGuard
from cluster.retention.alarms import StorageAlarms
from cluster.retention.disk import UsageProbe, of_marked, usage_probe
from cluster.retention.metrics import RetentionMetrics
from cluster.retention.stores import MEMORY_TIMEOUT_S, BoundMemory, TenantStores
from cluster.retention.sweeper import Sweeper
from cluster.stores.blobs.folder import StorageFolder
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import CameraStatusBoard
from cluster.stores.db import Database, RetentionRun
from cluster.stores.vectors.remote import RemoteMemory
from pipelines.clock import Clock
from pipelines.domain import CameraKey, SystemKind
from pipelines.retention import SpaceState, Usage

log = get_logger("retention")


SendAlarm = Callable[[CameraKey, SystemKind, int], Awaitable[None]]
"""Raises a system alarm about a camera since then, UTC microseconds. Raises AtalaiaError."""


class RetentionService:
    """Works from construction on, in the event loop in which it is made.

    Args:
        database, redis: closed by the caller, after this.
        send: sends the alarms about what is kept.
    """

    def __init__(
        self, settings: Settings, database: Database, redis: Redis, send: SendAlarm, clock: Clock
    ) -> None:
        self._blob_url = settings.blob_url
        self._database = database
        self._usual_quota = settings.quotas.storage_bytes
        self._blobs: dict[str, TenantBlobs] = {}
        self._memory = RemoteMemory(WorkOrders.of(settings, clock), MEMORY_TIMEOUT_S)
        self._folder = StorageFolder.of(settings.blob_url)
        self._guard = self._guarded(self._folder) if self._folder else None
        metrics = RetentionMetrics()
        alarms = StorageAlarms(
            settings.retention,
            tenants=self._tenants,
            statuses=CameraStatusBoard(redis).get_all,
            records=database.tenant,
            footage=self._guard,
            send=send,
            clock=clock,
        )
        sweeper = Sweeper(
            settings.retention,
            tenants=self._tenants,
            stores=self._stores,
            quota=self._quota,
            platform_audit=database.platform_audit(),
            probe=_probe(settings, self._folder),
            clock=clock,
            observe=_Observers(metrics, alarms),
            look=partial(_look, self._guard, metrics) if self._guard else None,
        )
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(sweeper.run(), name="retention"),
            loop.create_task(alarms.run(), name="storage alarms"),
        )

    @property
    def running(self) -> bool:
        return not any(task.done() for task in self._tasks)

    async def aclose(self) -> None:
        """Break off the present run; the next one goes on. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for blobs in self._blobs.values():
            await blobs.aclose()
        self._blobs.clear()

    def _guarded(self, folder: StorageFolder) -> FootageGuard:
        return FootageGuard(folder, self._tenants, self._database.recordings)

    async def _tenants(self) -> list[str]:
        return await self._database.platform().at_home()

    async def _quota(self, tenant: str) -> int:
        own = await self._database.platform().quotas(tenant)
        return own.get(STORAGE_QUOTA, self._usual_quota)

    def _stores(self, tenant: str) -> TenantStores:
        if tenant not in self._blobs:
            self._blobs[tenant] = TenantBlobs(
                self._blob_url,
                tenant,
                before=self._folder.require_marked if self._folder else None,
                permit=partial(self._guard.permit, tenant) if self._guard else None,
            )
        return TenantStores(
            tenant=tenant,
            retention=self._database.retention(tenant),
            expiry=self._database.expiry(tenant),
            blobs=self._blobs[tenant],
            memory=BoundMemory(self._memory, tenant),
            audit=self._database.audit(tenant),
        )


class _Observers:
    """The metrics and the alarms."""

    def __init__(self, metrics: RetentionMetrics, alarms: StorageAlarms) -> None:
        self._metrics = metrics
        self._alarms = alarms

    def run(self, run: RetentionRun) -> None:
        self._metrics.run(run)

    def space(self, usage: Usage | None, state: SpaceState) -> None:
        self._metrics.space(usage, state)
        self._alarms.space(usage, state)


async def _look(guard: FootageGuard, metrics: RetentionMetrics) -> None:
    await guard.look()
    metrics.footage(away=guard.away, lost=len(guard.lost))


def _probe(settings: Settings, folder: StorageFolder | None) -> UsageProbe | None:
    """None where the storage cannot be measured: the controller runs all the same."""
    try:
        probe = usage_probe(settings)
    except ValueError as error:
        log.error("blobs.url cannot be used", error=str(error))
        return None
    if probe is None or folder is None:
        if settings.retention.high_water is not None:
            log.warning("retention.high_water has no effect: blobs are in no local folder")
        return None
    return of_marked(folder, probe)
