"""An agent host: one process, many watchers: livekit-agents' AgentServer inside a Ray actor."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import psutil
from livekit import agents
from livekit.agents import AutoSubscribe, JobContext, JobExecutorType, JobRequest

from agents.watcher import Watcher
from cluster.controller.reports import HostStatus
from cluster.core.handles import deployment
from cluster.core.log import configure_logging, get_logger
from cluster.core.names import AGENT_NAME, DETECTOR, EMBEDDER, WATCHER_IDENTITY
from cluster.core.remote import ray_errors
from cluster.core.settings import Settings
from cluster.media.jpeg import JPEG_QUALITY, to_jpeg
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmPublisher, TrackPublisher, TrackUpdate
from pipelines.clock import SystemClock
from pipelines.colour import with_colour
from pipelines.domain import Alarm, CameraKey, CameraPlan, Crop, Detections, LetterboxedFrame
from pipelines.errors import AtalaiaError, ConfigError, UnavailableError, UnknownThingError
from pipelines.identity import object_snapshot_key
from pipelines.imaging import I420, crop_jpeg

log = get_logger("host")

REMEMBER_TIMEOUT_S = 20.0
DETECT_TIMEOUT_S = 5.0
"""Some 50 times the p99 of a busy detector here; a frame that old is of no use anyway."""
PLAN_WAIT_S = 10.0
PLAN_POLL_S = 0.1
PUBLISHER_RETRY_S = 1.0
"""A predecessor that was killed gives its spool free when its process is gone."""
MAX_REMEMBERS_IN_FLIGHT = 32
LOAD_THRESHOLD = 0.999
"""Load is watchers/capacity: below 1 there is room for one more."""


@dataclass(slots=True)
class _Job:
    watcher: Watcher
    context: JobContext
    loop: asyncio.AbstractEventLoop


class AgentHost:
    """Carries the watchers that LiveKit sends it, for the cameras whose plans it was given.

    Made inside a running event loop (an asynchronous Ray actor has one) and works from the start.

    Args:
        settings: the whole tree; the host uses livekit, agents, detector, redis, blobs.
        name: this actor's name, by which the API finds the host of a camera.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        configure_logging(settings.log)
        # Of each of its threads, idle ones too, livekit-agents asks 50 times a second whether its
        # loop is blocked: 2,000 wake-ups a second, a twentieth of a core. A watcher that hangs is
        # found by the controller, by its frames.
        os.environ.setdefault("LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS", "0")
        self._settings = settings
        self._name = name
        self._clock = SystemClock()
        self._incarnation = uuid.uuid4().hex
        self._plans: dict[CameraKey, CameraPlan] = {}
        self._jobs: dict[CameraKey, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts = Counter[str]()
        self._remembers = 0
        self._blobs: dict[str, TenantBlobs] = {}
        # One thread for the pictures of all objects: those of alarms have the others.
        self._objects = ThreadPoolExecutor(1, thread_name_prefix="objects")
        self._server: agents.AgentServer | None = None
        self._registered = False
        self._process = psutil.Process()
        self._detector = deployment(DETECTOR)
        self._embedder = deployment(EMBEDDER)
        self._loop = asyncio.get_running_loop()
        self._publisher = AlarmPublisher(settings.redis_url, settings.spool_dir, name)
        self._tracks = TrackPublisher(settings.redis_url)
        self._tracks.start()
        self._serving = self._loop.create_task(self._serve_agents(), name="agent server")

    # ------------------------------------------------------------ called by the controller

    async def sync(
        self, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus:
        """Take new plans (older revisions are ignored), drop removed cameras, tell how all are."""
        for plan in changed:
            known = self._plans.get(plan.key)
            if known is None or plan.revision >= known.revision:
                self._plans[plan.key] = plan
        for key in removed:
            self._plans.pop(key, None)
        for key, job in list(self._jobs.items()):
            plan_now = self._plans.get(key)
            if plan_now is None or not plan_now.camera.enabled:
                job.loop.call_soon_threadsafe(job.context.shutdown, "the camera was removed")
        return self.status()

    async def drop(self, key: CameraKey) -> None:
        """End this camera's watcher, because it hangs; the controller sends another."""
        job = self._jobs.get(key)
        if job is not None:
            job.loop.call_soon_threadsafe(job.context.shutdown, "dropped by the controller")

    def status(self) -> HostStatus:
        return HostStatus(
            incarnation=self._incarnation,
            name=self._name,
            registered=self._registered,
            watchers=tuple(job.watcher.status() for job in list(self._jobs.values())),
            revisions={key: plan.revision for key, plan in self._plans.items()},
            counts=dict(self._counts) | self._bus_counts(),
            rss_bytes=self._process.memory_info().rss,
        )

    def _bus_counts(self) -> dict[str, int]:
        alarms = {f"alarms_{what}": n for what, n in asdict(self._publisher.stats).items()}
        return alarms | {f"tracks_{what}": n for what, n in asdict(self._tracks.stats).items()}

    async def aclose(self) -> None:
        """Let every watcher go, publish what is still to be published. Safe to call twice."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        if self._server is not None:
            await self._server.aclose()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._publisher.aclose()
        await self._tracks.aclose()
        for blobs in self._blobs.values():
            await blobs.aclose()
        self._objects.shutdown(wait=False)

    # ------------------------------------------------------------ called by the API

    async def snapshot(self, tenant: str, camera: str, quality: int = JPEG_QUALITY) -> bytes:
        """JPEG of the newest frame.

        Raises:
            UnknownThingError: this host does not watch that camera.
            UnavailableError: no frame came yet.
        """
        job = self._jobs.get(CameraKey(tenant, camera))
        if job is None:
            raise UnknownThingError(f"camera {camera} is not watched here")
        latest = job.watcher.latest
        if latest is None:
            raise UnavailableError(f"camera {camera} has sent no picture yet")
        return await asyncio.to_thread(lambda: to_jpeg(latest.planes(), quality))

    # ------------------------------------------------------------ WatcherServices

    @property
    def input_size(self) -> tuple[int, int]:
        return self._settings.detector.input_width, self._settings.detector.input_height

    def plan(self, key: CameraKey) -> CameraPlan | None:
        return self._plans.get(key)

    async def detect(self, frame: LetterboxedFrame) -> Detections:
        # On the host's loop: a Serve handle routes on the loop that used it first.
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._detect(frame), self._loop)
        )

    async def _detect(self, frame: LetterboxedFrame) -> Detections:
        async with ray_errors("detector", DETECT_TIMEOUT_S):
            return cast("Detections", await self._detector.detect.remote(frame))

    def raise_alarm(self, alarm: Alarm, frame: I420) -> None:
        self._spawn(self._raise_alarm(alarm, frame))

    def remember(self, crop: Crop) -> None:
        self._spawn(self._remember(crop))

    def record_updates(self, updates: Sequence[TrackUpdate]) -> None:
        self._tracks.offer(updates)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the host's loop: watchers live on loops of their own, connections on this one."""
        future: Future[None] = asyncio.run_coroutine_threadsafe(self._tracked(work), self._loop)
        future.add_done_callback(_log_failure)

    async def _tracked(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        try:
            await task
        finally:
            self._tasks.discard(task)

    async def _raise_alarm(self, alarm: Alarm, frame: I420) -> None:
        """Store the picture, then publish: whoever reads the alarm finds its snapshot.

        The disk is waited for afterwards: an fsync takes 1 ms, but hundreds beside recordings.
        """
        key = f"alarms/{alarm.id}.jpg"
        blobs: TenantBlobs | None = None
        try:
            jpeg = await asyncio.to_thread(to_jpeg, frame)
            blobs = self._tenant_blobs(alarm.tenant)
            await blobs.put(key, jpeg, flush=False)
        except AtalaiaError as error:
            log.warning("alarm without snapshot", alarm=str(alarm.id), error=str(error))
            blobs = None
        stages = alarm.stages.model_copy(update={"published_us": self._clock.now_us()})
        raised = alarm.model_copy(update={"stages": stages, "snapshot": key if blobs else None})
        try:
            await self._publisher.publish(raised)
        except UnavailableError as error:
            # Redis and the spool both refused: the one way to lose an alarm, so it is said loudly.
            self._counts["alarms_lost"] += 1
            log.error("alarm lost", alarm=str(alarm.id), error=str(error))
        if blobs is not None:
            await self._flush(blobs, key)

    async def _flush(self, blobs: TenantBlobs, key: str) -> None:
        try:
            await blobs.flush(key)
        except AtalaiaError as error:
            self._counts["snapshots_unflushed"] += 1
            log.warning("snapshot may not outlive a power cut", key=key, error=str(error))

    async def _remember(self, crop: Crop) -> None:
        if self._remembers >= MAX_REMEMBERS_IN_FLIGHT:
            self._counts["remembers_dropped"] += 1
            self.record_updates((crop.sighting,))
            return
        self._remembers += 1
        try:
            shown = await self._with_picture(crop)
            self.record_updates((shown.sighting,))
            async with ray_errors("embedder", REMEMBER_TIMEOUT_S):
                await self._embedder.remember.remote(shown)
        except AtalaiaError as error:
            self._counts["remembers_failed"] += 1
            log.warning("object not remembered", error=str(error))
        finally:
            self._remembers -= 1

    async def _with_picture(self, crop: Crop) -> Crop:
        """The crop with its colour, and with its picture in the blob storage."""
        seen, jpeg = await self._loop.run_in_executor(
            self._objects, lambda: (with_colour(crop), crop_jpeg(crop.pixels))
        )
        key = object_snapshot_key(seen.sighting.camera, seen.sighting.track)
        try:
            await self._tenant_blobs(seen.sighting.tenant).put(key, jpeg, flush=False)
        except AtalaiaError as error:
            self._counts["object_pictures_failed"] += 1
            log.warning("object without picture", error=str(error))
            return seen
        return replace(seen, sighting=seen.sighting.model_copy(update={"snapshot": key}))

    def _tenant_blobs(self, tenant: str) -> TenantBlobs:
        if tenant not in self._blobs:
            self._blobs[tenant] = TenantBlobs(self._settings.blob_url, tenant)
        return self._blobs[tenant]

    # ------------------------------------------------------------ LiveKit

    async def _serve_agents(self) -> None:
        """Keep an AgentServer registered: it gives up after a number of failed connections."""
        await self._start_publisher()
        while True:
            self._server = self._new_server()
            try:
                await self._server.run()
            except (RuntimeError, OSError, ValueError) as error:
                log.warning("agent server ended, starting another", error=str(error))
            self._registered = False
            await asyncio.sleep(1.0)

    async def _start_publisher(self) -> None:
        while True:
            try:
                await self._publisher.start()
                return
            except ConfigError as error:
                log.warning("the alarm spool cannot be opened yet", error=str(error))
            await asyncio.sleep(PUBLISHER_RETRY_S)
            settings = self._settings
            self._publisher = AlarmPublisher(settings.redis_url, settings.spool_dir, self._name)

    def _new_server(self) -> agents.AgentServer:
        capacity = self._settings.agents.cameras_per_host
        livekit = self._settings.livekit
        server = agents.AgentServer(
            job_executor_type=JobExecutorType.THREAD,
            ws_url=livekit.url,
            api_key=livekit.api_key,
            api_secret=livekit.api_secret.get_secret_value(),
            host="127.0.0.1",
            port=0,
            load_fnc=lambda: len(self._jobs) / capacity,
            load_threshold=LOAD_THRESHOLD,
            # An empty worker takes its whole threshold for one job per idle runner: with as many
            # as its capacity a burst of dispatches is accepted (measured: with 0, all but one
            # were refused and never sent again).
            num_idle_processes=capacity,
            drain_timeout=5,
        )
        server.rtc_session(self._watch, agent_name=AGENT_NAME, on_request=self._accept)
        server.on("worker_registered", self._on_registered)
        return server

    def _on_registered(self, *_: object) -> None:
        self._registered = True

    async def _accept(self, request: JobRequest) -> None:
        await request.accept(identity=WATCHER_IDENTITY, name="Atalaia watcher")

    async def _watch(self, context: JobContext) -> None:
        """Entry point of a job: runs in a thread and event loop of its own."""
        key = CameraKey.from_room(context.job.room.name)
        plan = await self._await_plan(key) if key is not None else None
        if key is None or plan is None:
            context.shutdown("no camera of ours")
            return
        await context.connect(auto_subscribe=AutoSubscribe.SUBSCRIBE_NONE)
        watcher = Watcher(key, context.room, plan, self, self._clock)
        job = _Job(watcher, context, asyncio.get_running_loop())
        self._jobs[key] = job

        async def end(reason: str) -> None:
            if self._jobs.get(key) is job:
                del self._jobs[key]
            await watcher.aclose()
            log.info("watcher left", room=key.room, reason=reason)

        context.add_shutdown_callback(end)
        await watcher.start()
        log.info("watcher joined", room=key.room)

    async def _await_plan(self, key: CameraKey) -> CameraPlan | None:
        """The plan of a camera; the controller may hand it over a moment after the job."""
        for _ in range(round(PLAN_WAIT_S / PLAN_POLL_S)):
            if key in self._plans:
                break
            await asyncio.sleep(PLAN_POLL_S)
        return self._plans.get(key)


def _log_failure(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("background work failed", error=str(error), kind=type(error).__name__)
