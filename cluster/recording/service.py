"""What all recordings of a bridge share: the spool on its disk, and what sends it on its way."""

from __future__ import annotations

import asyncio
from functools import partial

from cluster.core.settings import Settings
from cluster.recording.camera import CameraRecording
from cluster.recording.shipper import Shipper
from cluster.recording.spool import Spool
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmLag, open_redis
from cluster.stores.db import Database
from pipelines.clock import Clock
from pipelines.domain import CameraKey

# Files of every tenant wait for the answer; a healthy Redis takes a millisecond.
ASK_TIMEOUT_S = 1.0


class RecordingService:
    """Made and closed by its bridge, on the bridge's event loop.

    Raises:
        ConfigError: redis.url cannot be used.
        UnavailableError: the spool's folder cannot be made.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings.recording
        self._spool = Spool(settings.recording_spool, settings.recording.spool_mb << 20)
        self._database = Database(settings.database_url)
        self._redis = open_redis(settings.redis_url, timeout_s=ASK_TIMEOUT_S)
        self._shipper = Shipper(
            self._spool,
            self._database,
            partial(TenantBlobs, settings.blob_url),
            AlarmLag(self._redis).waiting_s,
            grace_s=settings.recording.grace_s,
            clock=clock,
        )
        self._task = asyncio.create_task(self._shipper.run(), name="ship recordings")

    @property
    def trouble(self) -> str:
        """Why finished files wait, for people; empty while all is well."""
        return self._shipper.trouble

    def camera(self, key: CameraKey) -> CameraRecording:
        """The recording of a camera that the bridge was given."""
        return CameraRecording(key, self._settings, self._spool)

    async def aclose(self) -> None:
        """Stop sending; what waits is sent by the next bridge on this machine. Idempotent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._shipper.aclose()
        await self._database.aclose()
        await self._redis.aclose()
        await asyncio.to_thread(self._spool.close)
