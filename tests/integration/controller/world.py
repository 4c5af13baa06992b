"""A controller with real surroundings in one process: bridge, gateway, records, LiveKit, Redis.

Only Ray is left out, and with it the agent hosts: chaos tests have them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pydantic import SecretStr
from redis.asyncio import Redis

from cluster.bridge.bridge import Bridge
from cluster.bridge.units import BridgeCamera, BridgeStatus
from cluster.controller.controller import Controller
from cluster.controller.dispatch import LiveKitDispatcher
from cluster.controller.health import WorkerEvent, WorkerKind
from cluster.controller.reports import HostStatus
from cluster.controller.worker_loop import WorkerCallError
from cluster.core.settings import ControllerSettings
from cluster.stores.bus import CameraStatusBoard
from cluster.stores.db import Database, migrate
from pipelines.clock import SystemClock
from pipelines.domain import Camera, CameraKey, CameraPlan
from tests.factories import CIPHER
from tests.integration.bridge.world import PATIENCE_S, Servers


class OneBridge:
    """A fleet of one bridge, in this process, and of no agent host."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def find(self) -> tuple[int, int]:
        return 1, 0

    async def resize(self, bridges: int, hosts: int) -> None:
        assert bridges == 1

    async def report_bridge(self, index: int) -> BridgeStatus:
        return self._bridge.status()

    async def sync_bridge(self, index: int, cameras: tuple[BridgeCamera, ...]) -> BridgeStatus:
        return await self._bridge.sync(cameras)

    async def sync_host(
        self, index: int, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus:
        raise WorkerCallError(WorkerEvent.GONE)

    async def ended(self, kind: WorkerKind, index: int) -> bool:
        await asyncio.Event().wait()
        return True

    async def kill(self, kind: WorkerKind, index: int) -> None:
        raise AssertionError(f"{kind} {index} does not hang")

    async def drop_watcher(self, index: int, key: CameraKey) -> None:
        raise AssertionError("there is no watcher to drop")


class Site:
    """Everything that outlives a controller: the records, the servers, the bridge."""

    def __init__(self, servers: Servers, bridge: Bridge, redis: Redis, database: Database) -> None:
        self.servers = servers
        self.database = database
        self.board = CameraStatusBoard(redis)
        self._fleet = OneBridge(bridge)

    @contextlib.asynccontextmanager
    async def controller(self) -> AsyncIterator[Controller]:
        """A running controller that starts without state."""
        dispatcher = LiveKitDispatcher(self.servers.settings.livekit)
        alone = {"controller": ControllerSettings(spares=0)}
        controller = Controller(
            self.servers.settings.model_copy(update=alone),
            plans=self.database.platform(),
            gateway=self.servers.gateway,
            fleet=self._fleet,
            dispatcher=dispatcher,
            board=self.board,
            clock=SystemClock(),
        )
        running = asyncio.create_task(controller.run())
        try:
            yield controller
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await controller.aclose()
            await dispatcher.aclose()

    async def add(self, key: CameraKey, url: str) -> None:
        await self.database.platform().ensure_tenant(key.tenant, key.tenant)
        await self.database.tenant(key.tenant).add_camera(
            Camera(tenant=key.tenant, id=key.camera, name=key.camera, url=SecretStr(url))
        )

    async def state(self, key: CameraKey, wanted: str, words: str = "") -> str:
        """Wait until that camera is in that state with a matching reason; returns the reason."""
        seen = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    seen = (await self.board.get_all(key.tenant)).get(key.camera)
                    if seen is not None and seen.state == wanted and words in seen.reason:
                        return seen.reason
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{key.room} is not {wanted} ({words}): {seen}") from None


@contextlib.asynccontextmanager
async def site(servers: Servers, bridge: Bridge, redis: Redis) -> AsyncIterator[Site]:
    url = servers.settings.database_url
    (servers.settings.data_dir / "data").mkdir(exist_ok=True)
    await migrate(url)
    async with Database(url, cipher=CIPHER) as database:
        yield Site(servers, bridge, redis, database)
