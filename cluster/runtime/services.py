"""Controller and listener as named Ray actors, one of each per cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray.util import metrics

from cluster.controller.controller import Controller
from cluster.controller.coverage import CoverageKeeper
from cluster.controller.dispatch import LiveKitDispatcher
from cluster.controller.fenced import FencedBoard, FencedDispatcher, FencedFleet, FencedGateway
from cluster.controller.fleet import RayFleet
from cluster.controller.lease_keeper import BootClock, LeaseKeeper, lead
from cluster.controller.lease_store import RedisLease
from cluster.controller.metrics import CoverageMetrics, FleetMetrics
from cluster.controller.system_alarms import SystemAlarms, SystemAlarmSender, system_alarm
from cluster.core.log import configure_logging, get_logger
from cluster.core.names import CONTROLLER_ACTOR, LISTENER_ACTOR
from cluster.core.settings import Settings
from cluster.core.work_orders import Purpose, WorkOrder, WorkOrders
from cluster.erasure.service import ErasureService
from cluster.media.gateway_choice import make_gateway
from cluster.retention.service import RetentionService
from cluster.runtime.alarm_latency import STAGE_BOUNDS_MS, AlarmLatency
from cluster.runtime.losses import Losses
from cluster.stores.audit.anchors import AnchorKeys
from cluster.stores.audit.keeper import AnchorKeeper
from cluster.stores.bus import (
    AlarmPublisher,
    CameraStatusBoard,
    Listener,
    TrackListener,
    open_redis,
    replay_left_spools,
)
from cluster.stores.bus.listener import Loss
from cluster.stores.db import Database, RecordCipher
from pipelines.clock import SystemClock
from pipelines.domain import Alarm, CameraKey, SystemKind
from pipelines.errors import UnavailableError

log = get_logger("services")

STOP_TIMEOUT_S = 20.0
"""For one service with its workers; afterwards its actor is killed."""


class ControllerService:
    """The controller with its real dependencies.

    Create it inside a running event loop (an asynchronous Ray actor has one). It works from
    construction on, so that it also resumes when Ray restarts it and no one calls it.
    """

    def __init__(self, settings: Settings) -> None:
        configure_logging(settings.log)
        self._database = Database.of(settings, cipher=RecordCipher.of(settings))
        self._redis = open_redis(settings.redis_url_of("controller"))
        self._orders = WorkOrders.of(settings, SystemClock())
        self._gateway = make_gateway(settings)
        self._lease = LeaseKeeper(
            RedisLease(self._redis),
            ray.get_runtime_context().get_session_name(),
            settings.controller.lease_s,
            BootClock(),
        )
        token = self._lease.token
        self._fleet = RayFleet(settings, token)
        self._dispatcher = LiveKitDispatcher(settings.livekit)
        self._coverage = CoverageKeeper(self._database.coverage, CoverageMetrics().observe)
        self._controller = Controller(
            settings,
            plans=self._database.platform(),
            gateway=FencedGateway(self._gateway, token),
            fleet=FencedFleet(self._fleet, token),
            dispatcher=FencedDispatcher(self._dispatcher, token),
            board=FencedBoard(CameraStatusBoard(self._redis), token),
            clock=SystemClock(),
            observe=FleetMetrics().observe,
            cover=self._coverage.observe,
        )
        self._settings = settings
        self._sweepers: tuple[RetentionService | ErasureService, ...] = ()
        self._task = asyncio.get_running_loop().create_task(self._run(settings), name="controller")
        self._publishing = asyncio.Lock()
        self._alarms = SystemAlarmSender(
            partial(
                AlarmPublisher,
                settings.redis_url_of("controller"),
                settings.spool_dir,
                CONTROLLER_ACTOR,
            )
        )
        system_alarms = SystemAlarms(
            self._coverage,
            self._database.coverage,
            self._publish,
            SystemClock(),
            settings.controller.blind_after_s,
        )
        self._flushing = asyncio.get_running_loop().create_task(
            self._coverage.run(system_alarms.check), name="coverage"
        )

    async def _run(self, settings: Settings) -> None:
        try:
            sent = await replay_left_spools(settings.redis_url_of("controller"), settings.spool_dir)
            log.info("spooled alarms of earlier hosts published", alarms=sent)
        except UnavailableError as error:
            # They stay on disk for the next start, or for a host of the same name.
            log.warning("spooled alarms of earlier hosts not published", error=error.message)
        await lead(self._lease, self._command, self._stand_by)

    async def _command(self) -> None:
        """While this controller holds the lease: retention and erasure are its, too."""
        retention = RetentionService(
            self._settings, self._database, self._redis, self._send_alarm, SystemClock()
        )
        erasure = ErasureService(self._settings, self._database, self._redis, SystemClock())
        self._sweepers = (retention, erasure)
        try:
            await self._controller.run()
        finally:
            self._sweepers = ()
            await erasure.aclose()
            await retention.aclose()

    async def _send_alarm(self, key: CameraKey, kind: SystemKind, since_us: int) -> None:
        await self._publish(system_alarm(key, kind, since_us))

    async def _publish(self, alarm: Alarm) -> None:
        """One at a time: the sender opens its publisher with the first one."""
        async with self._publishing:
            await self._alarms.publish(alarm)

    async def _stand_by(self) -> None:
        """Another cluster's controller commands: its bridges and ours would put each other out of
        the rooms."""
        await self._fleet.resize(bridges=0, hosts=0)

    async def ping(self) -> bool:
        """True while the controller and its coverage run, and while it holds the lease also
        retention and erasure. One that stands by is as it should be."""
        if self._task.done() or self._flushing.done():
            return False
        sweeping = bool(self._sweepers) and all(sweeper.running for sweeper in self._sweepers)
        return sweeping or not self._lease.held

    async def changed(self, order: WorkOrder) -> None:
        """Records of the order's owner changed: reconcile now instead of at the next round. Raises
        WorkRefusedError."""
        tenant, camera = self._orders.check(order, Purpose.ANNOUNCE)
        log.debug("change noticed", tenant=tenant, camera=camera)
        self._controller.changed()

    async def counts(self) -> dict[str, int]:
        """Repairs by kind since this process started."""
        return dict(self._controller.counts)

    async def aclose(self) -> None:
        """Stop reconciling, then stop every worker, then let another cluster's controller command.
        Idempotent."""
        if self._task.cancelled():
            return
        self._task.cancel()
        self._flushing.cancel()
        await asyncio.gather(self._task, self._flushing, return_exceptions=True)
        await self._coverage.aclose()
        await self._alarms.aclose()
        await self._controller.aclose()
        await self._fleet.aclose()
        await self._lease.release()
        await self._gateway.aclose()
        await self._dispatcher.aclose()
        await self._redis.aclose()
        await self._database.aclose()


class ListenerService:
    """Writes the alarms of every tenant's stream into the records and, independently, the track
    updates; and anchors the audit log. Works from construction on, like `ControllerService`."""

    def __init__(self, settings: Settings) -> None:
        configure_logging(settings.log)
        self._database = Database.of(settings)
        self._redis = open_redis(settings.redis_url_of("listener"))
        platform = self._database.platform()

        async def tenants() -> list[str]:
            return await platform.at_home(draining=True)

        self._losses = Losses(_loss_metric())
        alarms = Listener(
            self._redis,
            tenants,
            self._database.tenant,
            LISTENER_ACTOR,
            on_loss=self._losses.add,
            on_recorded=AlarmLatency(SystemClock(), _stage_metric()).add,
        )
        tracks = TrackListener(
            self._redis,
            tenants,
            self._database.tracks,
            LISTENER_ACTOR,
            on_loss=self._losses.add,
        )
        anchors = AnchorKeeper(
            self._database.audit_heads(),
            partial(AnchorKeys.of, settings),
            settings.anchor_dir,
            SystemClock(),
            settings.audit.anchor_interval_s,
        )
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(alarms.run(), name="listener"),
            loop.create_task(tracks.run(), name="track listener"),
            loop.create_task(anchors.run(), name="audit anchors"),
        )

    async def ping(self) -> bool:
        """True while the listeners and the anchors' keeper run."""
        return not any(task.done() for task in self._tasks)

    async def losses(self) -> str | None:
        """What did not reach the records since the start, and why; None: nothing."""
        return self._losses.sentence()

    async def aclose(self) -> None:
        """Cancel all of them; unacknowledged entries are delivered again. Idempotent."""
        if any(task.cancelled() for task in self._tasks):
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.aclose()
        await self._database.aclose()


def _stage_metric() -> Callable[[str, float], None]:
    """Adds to a histogram of Ray's exporter. Labels: no tenant."""
    spent = metrics.Histogram(
        "atalaia_alarm_stage_ms",
        description="milliseconds that a live alarm spent in each stage; total: capture to records",
        boundaries=STAGE_BOUNDS_MS,
        tag_keys=("stage",),
    )
    return lambda stage, ms: spent.observe(ms, tags={"stage": stage})


def _loss_metric() -> Callable[[str, Loss, int], None]:
    """Adds to a counter of Ray's exporter. Labels: no tenant."""
    lost = metrics.Counter(
        "atalaia_entries_not_recorded",
        description="alarms and track updates that did not reach the records",
        tag_keys=("what", "reason"),
    )

    def count(what: str, loss: Loss, count: int) -> None:
        lost.inc(count, tags={"what": what, "reason": loss.value})

    return count


def _ensure_actor(kind: type, name: str, settings: Settings) -> Any:
    return (
        ray.remote(kind)
        .options(
            name=name,
            namespace=settings.ray.namespace,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            num_cpus=0,
            resources=settings.ray.worker_resources,
            max_concurrency=64,
        )
        .remote(settings)
    )


async def ensure(settings: Settings) -> None:
    """Start the controller and the listener unless they run already. Ray must be connected."""
    actors = [
        _ensure_actor(ListenerService, LISTENER_ACTOR, settings),
        _ensure_actor(ControllerService, CONTROLLER_ACTOR, settings),
    ]
    await asyncio.gather(*(actor.ping.remote() for actor in actors))


async def stop(settings: Settings) -> None:
    """Stop controller, listener and every worker, if they run."""
    if not ray.is_initialized():
        return  # any call below would make Ray join a cluster
    for name in (CONTROLLER_ACTOR, LISTENER_ACTOR):
        try:
            actor = ray.get_actor(name, namespace=settings.ray.namespace)
        except ValueError:
            continue
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await actor.aclose.remote()
        except (TimeoutError, ray.exceptions.RayActorError) as error:
            log.warning("service did not stop by itself", name=name, error=type(error).__name__)
        ray.kill(actor, no_restart=True)
