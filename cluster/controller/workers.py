"""The workers as Ray actors: thin, so that whoever looks one up by name imports nothing heavy.

Ray imports an actor's class wherever its handle is used. With the workers themselves as actor
classes, the API's first snapshot imported livekit-agents and took seven seconds.
"""

from __future__ import annotations

import importlib
from typing import Protocol

from cluster.bridge.units import BridgeCamera, BridgeStatus
from cluster.controller.reports import HostStatus
from cluster.settings import Settings
from pipelines.domain import CameraKey, CameraPlan

HOST_MODULE, HOST_CLASS = "agents.host", "AgentHost"
"""Named, not imported: cluster leans on nothing above it. Ray Serve names its apps the same way."""


class Host(Protocol):
    """What an agent host offers; `agents.host.AgentHost` is one."""

    async def sync(
        self, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus: ...

    async def drop(self, key: CameraKey) -> None: ...

    async def snapshot(self, tenant: str, camera: str, quality: int) -> bytes: ...

    async def aclose(self) -> None: ...


class HostActor:
    """An agent host in an actor's process. Arguments and errors are those of the host."""

    def __init__(self, settings: Settings, name: str) -> None:
        host_class = getattr(importlib.import_module(HOST_MODULE), HOST_CLASS)
        self._host: Host = host_class(settings, name)

    async def sync(
        self, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus:
        return await self._host.sync(changed, removed)

    async def drop(self, key: CameraKey) -> None:
        await self._host.drop(key)

    async def snapshot(self, tenant: str, camera: str, quality: int) -> bytes:
        return await self._host.snapshot(tenant, camera, quality)

    async def aclose(self) -> None:
        await self._host.aclose()


class BridgeActor:
    """A bridge in an actor's process."""

    def __init__(self, settings: Settings) -> None:
        from cluster.bridge.bridge import Bridge

        self._bridge = Bridge(settings)

    async def sync(self, cameras: tuple[BridgeCamera, ...]) -> BridgeStatus:
        return await self._bridge.sync(cameras)

    async def aclose(self) -> None:
        await self._bridge.aclose()
