"""What a controller commands, each command only while it holds the lease."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import SecretStr

from cluster.bridge.units import BridgeCamera, BridgeStatus
from cluster.controller.controller import Board, Dispatcher
from cluster.controller.crew import Fleet
from cluster.controller.health import WorkerKind
from cluster.controller.reports import HostStatus
from cluster.media.errors import UnreadableCameraError
from cluster.media.gateway import MediaGateway, ProbeResult
from cluster.stores.bus import CameraStatus
from pipelines.domain import CameraKey, CameraPlan

Token = Callable[[], int]
"""Raises NotInCommandError where the lease is not held."""


class FencedFleet:
    """Also, workers refuse a token that is lower than one that they have had."""

    def __init__(self, fleet: Fleet, token: Token) -> None:
        self._fleet, self._token = fleet, token

    async def resize(self, bridges: int, hosts: int) -> None:
        self._token()
        await self._fleet.resize(bridges, hosts)

    async def find(self) -> tuple[int, int]:
        return await self._fleet.find()

    async def report_bridge(self, index: int) -> BridgeStatus:
        return await self._fleet.report_bridge(index)

    async def sync_bridge(self, index: int, cameras: tuple[BridgeCamera, ...]) -> BridgeStatus:
        self._token()
        return await self._fleet.sync_bridge(index, cameras)

    async def sync_host(
        self, index: int, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus:
        self._token()
        return await self._fleet.sync_host(index, changed, removed)

    async def drop_watcher(self, index: int, key: CameraKey) -> None:
        self._token()
        await self._fleet.drop_watcher(index, key)

    async def ended(self, kind: WorkerKind, index: int) -> bool:
        return await self._fleet.ended(kind, index)

    async def kill(self, kind: WorkerKind, index: int) -> None:
        self._token()
        await self._fleet.kill(kind, index)


class FencedDispatcher:
    def __init__(self, dispatcher: Dispatcher, token: Token) -> None:
        self._dispatcher, self._token = dispatcher, token

    async def dispatch(self, key: CameraKey) -> None:
        self._token()
        await self._dispatcher.dispatch(key)


class FencedBoard:
    def __init__(self, board: Board, token: Token) -> None:
        self._board, self._token = board, token

    async def put_all(self, tenant: str, statuses: Iterable[CameraStatus]) -> None:
        self._token()
        await self._board.put_all(tenant, statuses)


class FencedGateway:
    """Changes need the lease; questions do not."""

    def __init__(self, gateway: MediaGateway, token: Token) -> None:
        self._gateway, self._token = gateway, token

    async def ensure(self, name: str, url: SecretStr) -> bool:
        self._token()
        return await self._gateway.ensure(name, url)

    async def remove(self, name: str) -> None:
        self._token()
        await self._gateway.remove(name)

    async def names(self) -> set[str]:
        return await self._gateway.names()

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        return self._gateway.rtsp_url(name, sound=sound)

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        return await self._gateway.probe(target)

    async def why(self, name: str) -> UnreadableCameraError | None:
        return await self._gateway.why(name)

    async def aclose(self) -> None:
        await self._gateway.aclose()
