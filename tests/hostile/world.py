"""Hostile cameras as the product meets them: through its relay, read by the bridge's own reader."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from av.packet import Packet
from av.video.stream import VideoStream
from pydantic import SecretStr

from cluster.bridge.reader import PacketReader
from cluster.media.errors import CameraProblem
from cluster.media.sealing import Seal, sources_seal
from cluster.media.target import Target, relay_url, seal_target
from cluster.media.urls import parse_camera_url
from cluster.relay.server import RelayConfig, RelayServer
from pipelines.clock import ManualClock
from tests.ports import free_port

SECRET = "0123456789abcdef0123456789abcdef-x"
LOOPBACK = ("private", "public", "127.0.0.1", "::1")
PATIENCE_S = 60.0
"""For what must come; a busy machine may need it."""


@dataclass
class Relay:
    """A relay in the test's own event loop. `clock` counts the time between wrong passwords."""

    server: RelayServer
    seal: Seal
    address: str
    clock: ManualClock

    def url(self, camera: str, tenant: str = "acme") -> SecretStr:
        """Where the relay offers a camera."""
        target = Target(tenant, parse_camera_url(camera))
        return SecretStr(relay_url(self.address, target, seal_target(self.seal, target)))

    async def why(self, camera: str) -> CameraProblem | None:
        """What the relay says of the camera's last failure."""
        sealed = self.url(camera).get_secret_value().rsplit("/", 1)[1]
        base = self.address.replace("tcp:", "http:")
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            answer = await client.get(f"/why/{sealed}")
        return CameraProblem(json.loads(answer.content)["problem"]) if answer.content else None

    async def until_why(self, camera: str, problem: CameraProblem) -> float:
        """Wait until the relay says so; returns the seconds that it took."""
        began = time.monotonic()
        while await self.why(camera) is not problem:
            assert time.monotonic() - began < PATIENCE_S, await self.why(camera)
            await asyncio.sleep(0.1)
        return time.monotonic() - began


@asynccontextmanager
async def relaying(allow: tuple[str, ...] = LOOPBACK) -> AsyncIterator[Relay]:
    port, clock = free_port(), ManualClock()
    config = RelayConfig(
        bind="127.0.0.1",
        port=port,
        url=f"tcp://127.0.0.1:{port}",
        secret=SecretStr(SECRET),
        allow=allow,
        deny=(),
        services=(),
    )
    server = RelayServer(config, clock=clock)
    await server.start()
    try:
        yield Relay(server, sources_seal(SECRET), config.url, clock)
    finally:
        await server.aclose()


def reader(url: SecretStr, *, read_timeout_s: float = 5.0) -> PacketReader:
    return PacketReader(url, open_timeout_s=10.0, read_timeout_s=read_timeout_s)


def _read(url: SecretStr, count: int) -> list[Packet[VideoStream]]:
    found: list[Packet[VideoStream]] = []
    with reader(url) as source:
        for packet in source.packets():
            found.append(packet)
            if len(found) == count:
                break
    return found


async def read(url: SecretStr, count: int) -> list[Packet[VideoStream]]:
    """The first packets of a stream, by the bridge's reader.

    Raises:
        UnreadableCameraError: as the reader.
    """
    return await asyncio.to_thread(_read, url, count)
