"""What all recordings of a bridge share: the outbox on its disk, and the shipper."""

from __future__ import annotations

import asyncio
from functools import partial

from cluster.core.settings import Settings
from cluster.recording.camera import CameraRecording
from cluster.recording.footage import FootageGuard
from cluster.recording.outbox import SegmentOutbox
from cluster.recording.shipper import Shipper
from cluster.stores.blobs.folder import StorageFolder
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmLag, open_redis
from cluster.stores.db import Database
from pipelines.clock import Clock
from pipelines.domain import CameraKey

# A healthy Redis answers within a millisecond. The files of all tenants wait for this answer.
PASSAGE_TIMEOUT_S = 1.0


class RecordingService:
    """Created and closed by its bridge, on the bridge's event loop.

    Raises:
        ConfigError: redis.url cannot be used.
        UnavailableError: the outbox folder cannot be created.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings.recording
        self._outbox = SegmentOutbox(settings.recording_spool, settings.recording.spool_mb << 20)
        self._database = Database.of(settings)
        self._redis = open_redis(settings.redis_url_of("bridge"), timeout_s=PASSAGE_TIMEOUT_S)
        folder = StorageFolder.of(settings.blob_url)
        self._shipper = Shipper(
            self._outbox,
            self._database,
            partial(
                TenantBlobs, settings.blob_url, before=folder.require_marked if folder else None
            ),
            AlarmLag(self._redis).waiting_s,
            grace_s=settings.recording.grace_s,
            clock=clock,
            claim=self._guard(folder).claim if folder else None,
        )
        self._task = asyncio.create_task(self._shipper.run(), name="ship recordings")

    def _guard(self, folder: StorageFolder) -> FootageGuard:
        platform = self._database.platform()
        return FootageGuard(folder, platform.at_home, self._database.recordings)

    @property
    def problem(self) -> str:
        """Why finished files wait, for people; empty if all is well."""
        return self._shipper.problem

    def camera(self, key: CameraKey) -> CameraRecording:
        """The recording of a camera that this bridge carries."""
        return CameraRecording(key, self._settings, self._outbox)

    async def aclose(self) -> None:
        """Stop shipping. The next bridge on this machine ships what still waits. Idempotent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._shipper.aclose()
        await self._database.aclose()
        await self._redis.aclose()
        await asyncio.to_thread(self._outbox.close)
