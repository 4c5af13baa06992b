"""Thin Ray actor classes for the workers, so that using an actor's handle imports nothing heavy.

Ray imports an actor's class wherever its handle is used. When the workers themselves were the actor
classes, the API's first snapshot imported livekit-agents and took seven seconds.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
import time
from typing import Protocol

from cluster.bridge.units import BridgeCamera, BridgeStatus
from cluster.controller.lease import Fence
from cluster.controller.reports import HostStatus
from cluster.core.settings import Settings
from cluster.core.work_orders import PLATFORM, Purpose, WorkOrder, WorkOrders
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey, CameraPlan

HOST_MODULE, HOST_CLASS = "agents.host", "AgentHost"
"""By name, because `cluster` must not import `agents`; Ray Serve references apps the same way."""


LIVED_S = 60.0
"""A call that waits for a worker's end returns after this, so that those of controllers which are
gone do not gather."""

END_GRACE_S = 2.0
"""Time for Python's own shutdown after the main thread has ended."""


def prepare_worker() -> None:
    """Initialize the process of a worker. Call first.

    LiveKit's SDK creates its native client on first use, without a lock: two watchers that started
    simultaneously created two, and one of them waited forever for events that went to the other.

    And a process whose main thread has ended, by a signal or a panic of native code, must not live
    on in its other threads: LiveKit would keep dispatching watchers to it.

    Raises:
        RuntimeError: LiveKit's native client did not start.
    """
    from livekit.rtc._ffi_client import FfiClient

    if FfiClient.instance is None:
        raise RuntimeError("LiveKit's native client did not start")
    threading.Thread(target=_exit_with_main_thread, name="end with main", daemon=True).start()


async def lived() -> None:
    """Outlasts everything but the end of the process. Who awaits it learns of that at once."""
    await asyncio.sleep(LIVED_S)


def _exit_with_main_thread() -> None:
    threading.main_thread().join()
    time.sleep(END_GRACE_S)
    os._exit(1)


class Host(Protocol):
    """Interface of an agent host, implemented by `agents.host.AgentHost`."""

    async def sync(
        self, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus: ...

    async def drop(self, key: CameraKey) -> None: ...

    async def snapshot(self, tenant: str, camera: str, quality: int) -> bytes: ...

    async def aclose(self) -> None: ...


class HostActor:
    """An agent host as an actor. Arguments and errors are those of the host; besides, a call about
    cameras raises WorkRefusedError where its order does not prove whose work it is, and a command
    with a lower token than an earlier one NotInCommandError."""

    def __init__(self, settings: Settings, name: str) -> None:
        prepare_worker()
        host_class = getattr(importlib.import_module(HOST_MODULE), HOST_CLASS)
        self._host: Host = host_class(settings, name)
        self._fence = Fence()
        self._orders = WorkOrders.of(settings, SystemClock())

    async def sync(
        self,
        order: WorkOrder,
        changed: tuple[CameraPlan, ...],
        removed: tuple[CameraKey, ...],
        token: int = 0,
    ) -> HostStatus:
        self._orders.check(order, Purpose.FLEET, of=PLATFORM)
        if changed or removed:  # else it is a question, for which no lease is needed
            self._fence.admit(token)
        return await self._host.sync(changed, removed)

    async def drop(self, order: WorkOrder, key: CameraKey, token: int = 0) -> None:
        self._orders.check(order, Purpose.FLEET, of=PLATFORM)
        self._fence.admit(token)
        await self._host.drop(key)

    async def lived(self) -> None:
        await lived()

    async def snapshot(self, order: WorkOrder, quality: int) -> bytes:
        tenant, camera = self._orders.check_camera(order, Purpose.SNAPSHOT)
        return await self._host.snapshot(tenant, camera, quality)

    async def aclose(self) -> None:
        await self._host.aclose()


class BridgeActor:
    """A bridge as an actor. Arguments and errors are those of the bridge, and as of `HostActor`."""

    def __init__(self, settings: Settings) -> None:
        from cluster.bridge.bridge import Bridge

        prepare_worker()
        self._bridge = Bridge(settings)
        self._fence = Fence()
        self._orders = WorkOrders.of(settings, SystemClock())

    async def sync(
        self, order: WorkOrder, cameras: tuple[BridgeCamera, ...], token: int = 0
    ) -> BridgeStatus:
        self._orders.check(order, Purpose.FLEET, of=PLATFORM)
        self._fence.admit(token)
        return await self._bridge.sync(cameras)

    async def status(self, order: WorkOrder) -> BridgeStatus:
        self._orders.check(order, Purpose.FLEET, of=PLATFORM)
        return self._bridge.status()

    async def lived(self) -> None:
        await lived()

    async def aclose(self) -> None:
        await self._bridge.aclose()
