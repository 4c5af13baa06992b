"""An agent host: one process, many watchers. Puts its parts together; each has a module."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial

import psutil
from livekit import rtc

from agents.evidence import Evidence
from agents.livekit_jobs import WatcherJobs
from agents.models import ModelCalls
from agents.plans import PlanBook
from agents.publishers import Publishers
from agents.services import WatcherServices
from agents.watcher import Watcher
from cluster.controller.reports import HostStatus
from cluster.core.handles import deployment
from cluster.core.log import configure_logging
from cluster.core.names import DETECTOR, EMBEDDER
from cluster.core.settings import Settings
from cluster.core.work_orders import WorkOrders
from cluster.media.jpeg import JPEG_QUALITY, to_jpeg
from cluster.stores.bus import AlarmPublisher, TrackPublisher
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey, CameraPlan
from pipelines.errors import NotFoundError, UnavailableError


class AgentHost:
    """Carries the watchers that LiveKit sends it, for the cameras whose plans it was given.

    Made inside a running event loop (an asynchronous Ray actor has one) and works from the start.

    Args:
        settings: the whole tree; the host uses livekit, agents, detector, redis, blobs.
        name: this actor's name, by which the API finds the host of a camera.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        configure_logging(settings.log)
        self._name = name
        self._incarnation = uuid.uuid4().hex
        self._process = psutil.Process()
        self._clock = SystemClock()
        self._plans = PlanBook()
        input_size = (settings.detector.input_width, settings.detector.input_height)
        orders = WorkOrders.of(settings, self._clock)
        models = ModelCalls(deployment(DETECTOR), deployment(EMBEDDER), input_size, orders)
        redis_url = settings.redis_url_of("agent")
        open_alarms = partial(AlarmPublisher, redis_url, settings.spool_dir, name)
        self._publishers = Publishers(open_alarms, TrackPublisher(redis_url), self._clock)
        self._evidence = Evidence(settings.blob_url, self._publishers, models)
        loop = asyncio.get_running_loop()
        self._services = WatcherServices(
            loop, self._plans, models, self._evidence, self._publishers
        )
        capacity = settings.agents.cameras_per_host
        self._jobs = WatcherJobs(settings.livekit, capacity, self._plans, self._new_watcher)
        self._serving = loop.create_task(self._serve(), name="agent server")

    # ------------------------------------------------------------ called by the controller

    async def sync(
        self, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus:
        """Take new plans (older revisions are ignored), drop removed cameras, return all states."""
        self._plans.update(changed, removed)
        self._jobs.end_unwanted()
        return self.status()

    async def drop(self, key: CameraKey) -> None:
        """End this camera's watcher, because it hangs; the controller sends another."""
        self._jobs.drop(key)

    def status(self) -> HostStatus:
        return HostStatus(
            incarnation=self._incarnation,
            name=self._name,
            registered=self._jobs.registered,
            watchers=tuple(watcher.status() for watcher in self._jobs.watchers),
            revisions=self._plans.revisions,
            counts=dict(self._evidence.counts) | self._publishers.counts,
            rss_bytes=self._process.memory_info().rss,
        )

    async def aclose(self) -> None:
        """Let every watcher go, publish what is still to be published. Safe to call twice."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self._jobs.aclose()
        await self._evidence.aclose()
        await self._publishers.aclose()

    # ------------------------------------------------------------ called by the API

    async def snapshot(self, tenant: str, camera: str, quality: int = JPEG_QUALITY) -> bytes:
        """JPEG of the newest frame.

        Raises:
            NotFoundError: this host does not watch that camera.
            UnavailableError: no frame came yet.
        """
        watcher = self._jobs.watcher(CameraKey(tenant, camera))
        if watcher is None:
            raise NotFoundError(f"camera {camera} is not watched here")
        latest = watcher.latest
        if latest is None:
            raise UnavailableError(f"camera {camera} has sent no picture yet")
        return await asyncio.to_thread(lambda: to_jpeg(latest.planes(), quality))

    # ------------------------------------------------------------ inside

    async def _serve(self) -> None:
        await self._publishers.start()  # first: a watcher's first alarm must find its way out
        await self._jobs.serve()

    def _new_watcher(self, key: CameraKey, room: rtc.Room, plan: CameraPlan) -> Watcher:
        return Watcher(key, room, plan, self._services, self._clock)
