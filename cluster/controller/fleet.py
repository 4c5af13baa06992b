"""The cluster's workers as named Ray actors: starts, finds, updates and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import ray
import ray.exceptions

from cluster.bridge.units import BridgeCamera, BridgeStatus
from cluster.controller.health import WorkerEvent, WorkerKind
from cluster.controller.reports import HostStatus
from cluster.controller.worker_loop import WorkerCallError
from cluster.controller.workers import LIVED_S, BridgeActor, HostActor
from cluster.core.log import get_logger
from cluster.core.names import BRIDGE_ACTOR, HOST_ACTOR
from cluster.core.settings import Settings
from cluster.core.work_orders import PLATFORM, Purpose, WorkOrder, WorkOrders
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey, CameraPlan

log = get_logger("fleet")

CALL_TIMEOUT_S = 15.0
"""After this a worker that answered before counts as hung. The first call waits for the actor's
process and imports: some 6 s on a small, busy machine."""


class RayFleet:
    """Bridges and agent hosts, each a named actor that Ray restarts when it dies.

    Args:
        token: goes with each command; workers refuse one that is lower than an earlier one.
    """

    def __init__(self, settings: Settings, token: Callable[[], int] = lambda: 0) -> None:
        self._settings = settings
        self._token = token
        self._bridges: list[Any] = []
        self._hosts: list[Any] = []
        self._adopted = False
        self._orders = WorkOrders.of(settings, SystemClock())

    async def find(self) -> tuple[int, int]:
        """How many bridges and hosts an earlier controller left running. Surplus ones must be
        stopped: two bridges with the same camera would keep evicting each other from its room."""
        if not self._adopted:
            self._bridges, self._hosts = self._running(BRIDGE_ACTOR), self._running(HOST_ACTOR)
            self._adopted = True
        return len(self._bridges), len(self._hosts)

    async def resize(self, bridges: int, hosts: int) -> None:
        await self.find()
        while len(self._bridges) < bridges:
            name = BRIDGE_ACTOR.format(index=len(self._bridges))
            self._bridges.append(self._start(BridgeActor, name, self._settings))
        while len(self._hosts) < hosts:
            name = HOST_ACTOR.format(index=len(self._hosts))
            self._hosts.append(self._start(HostActor, name, self._settings, name))
        surplus = self._bridges[bridges:] + self._hosts[hosts:]
        del self._bridges[bridges:], self._hosts[hosts:]
        await asyncio.gather(*(self._end(actor) for actor in surplus))

    def _running(self, pattern: str) -> list[Any]:
        found: list[Any] = []
        while True:
            name = pattern.format(index=len(found))
            try:
                found.append(ray.get_actor(name, self._settings.ray.namespace))
            except ValueError:
                return found

    def _start(self, kind: type, name: str, *args: object) -> Any:
        return (
            ray.remote(kind)
            .options(
                name=name,
                namespace=self._settings.ray.namespace,
                get_if_exists=True,
                lifetime="detached",
                max_restarts=-1,
                num_cpus=0,
                resources=self._settings.ray.worker_resources,
                max_concurrency=256,
                # A spare on the node of the one that it is to replace would go with it.
                scheduling_strategy="SPREAD",
            )
            .remote(*args)
        )

    async def _end(self, actor: Any) -> None:
        try:
            await self._call(actor.aclose.remote())
        except WorkerCallError as error:
            log.warning("worker did not end by itself", reason=error.event.value)
        ray.kill(actor, no_restart=True)

    async def report_bridge(self, index: int) -> BridgeStatus:
        status: BridgeStatus = await self._call(self._bridges[index].status.remote(self._order()))
        return status

    async def sync_bridge(self, index: int, cameras: tuple[BridgeCamera, ...]) -> BridgeStatus:
        status: BridgeStatus = await self._call(
            self._bridges[index].sync.remote(self._order(), cameras, self._token())
        )
        return status

    async def sync_host(
        self, index: int, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus:
        status: HostStatus = await self._call(
            self._hosts[index].sync.remote(self._order(), changed, removed, self._token())
        )
        return status

    async def drop_watcher(self, index: int, key: CameraKey) -> None:
        await self._call(self._hosts[index].drop.remote(self._order(), key, self._token()))

    async def ended(self, kind: WorkerKind, index: int) -> bool:
        """Wait for the end of a worker's process; False if it lived for `LIVED_S` meanwhile."""
        try:
            await self._call(self._actor(kind, index).lived.remote(), LIVED_S + CALL_TIMEOUT_S)
        except WorkerCallError as error:
            return error.event is WorkerEvent.GONE
        return False

    async def kill(self, kind: WorkerKind, index: int) -> None:
        ray.kill(self._actor(kind, index), no_restart=False)

    async def aclose(self) -> None:
        """End every worker."""
        await asyncio.gather(*(self._end(a) for a in (*self._hosts, *self._bridges)))
        self._hosts, self._bridges = [], []

    def _order(self) -> WorkOrder:
        return self._orders.issue(PLATFORM, Purpose.FLEET)

    def _actor(self, kind: WorkerKind, index: int) -> Any:
        return (self._bridges if kind is WorkerKind.BRIDGE else self._hosts)[index]

    async def _call(self, reference: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """The answer to a call.

        Raises:
            WorkerCallError: the worker is gone (Ray starts another), does not answer, or failed.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await reference
        except ray.exceptions.RayTaskError:
            log.exception("worker failed")
            raise WorkerCallError(WorkerEvent.FAILED) from None
        except ray.exceptions.RayActorError:
            raise WorkerCallError(WorkerEvent.GONE) from None
        except TimeoutError:
            raise WorkerCallError(WorkerEvent.SILENT) from None
