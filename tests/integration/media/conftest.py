"""A real go2rtc with its relay, and clips for cameras to play."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import yaml
from pydantic import SecretStr

from cluster.core.settings import GatewaySettings, LiveKitSettings, Settings
from cluster.local.files import ensure_private_dir
from cluster.local.servers import go2rtc_config
from cluster.media.go2rtc import Go2RtcGateway
from cluster.media.sealing import GatewayKeys
from cluster.relay.server import RelayConfig, RelayServer
from tests.ports import free_port
from tests.unit.cluster.media.clips import Clip, encode

SECRET = "0123456789abcdef0123456789abcdef-x"


@dataclass
class Go2Rtc:
    """A go2rtc process as the product configures it, and its relay, which runs in the test's own
    event loop. go2rtc's configuration file survives `restart`."""

    binary: str
    folder: Path
    rtsp_port: int = field(default_factory=free_port)
    relay_port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ("private", "public", "127.0.0.1", "::1")
    deny: tuple[str, ...] = ()
    process: asyncio.subprocess.Process | None = None
    relay: RelayServer | None = None

    @property
    def config(self) -> Path:
        return self.folder / "go2rtc.yaml"

    @property
    def settings(self) -> Settings:
        return Settings(
            data_dir=self.folder,
            livekit=LiveKitSettings(api_secret=SecretStr(SECRET)),
            gateway=GatewaySettings(
                kind="go2rtc",
                rtsp_url=f"rtsp://127.0.0.1:{self.rtsp_port}",
                relay_url=f"tcp://127.0.0.1:{self.relay_port}",
                allow=self.allow,
                deny=self.deny,
            ),
        )

    @property
    def socket(self) -> Path:
        return self.settings.gateway_socket

    def client(self) -> httpx.AsyncClient:
        """A client with the gateway's password."""
        keys = GatewayKeys.of(self.settings)
        assert keys.username
        assert keys.password
        return httpx.AsyncClient(
            base_url="http://gateway",
            auth=(keys.username, keys.password.get_secret_value()),
            transport=httpx.AsyncHTTPTransport(uds=str(self.socket)),
            timeout=25,
        )

    def sealed(self, name: str) -> str:
        """The gateway's name for the stream `name`."""
        return GatewayKeys.of(self.settings).names.seal(name)

    async def start(self) -> None:
        if not self.config.exists():
            content = go2rtc_config(self.settings)
            content["log"]["level"] = "debug"
            self.config.write_text(yaml.safe_dump(content))
        ensure_private_dir(self.socket.parent)
        if self.relay is None:
            self.relay = RelayServer(RelayConfig.of(self.settings))
            await self.relay.start()
        log = (self.folder / "go2rtc.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            self.binary, "-c", str(self.config), stdout=log, stderr=log, env=self.environment
        )
        async with self.client() as client:
            for _ in range(1200):
                try:
                    await client.get("/api")
                    return
                except httpx.TransportError:
                    if self.process.returncode is not None:
                        break
                    await asyncio.sleep(0.05)
        raise AssertionError((self.folder / "go2rtc.log").read_text())

    async def stop(self) -> None:
        """Kill go2rtc; the relay stays."""
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def aclose(self) -> None:
        await self.stop()
        if self.relay is not None:
            await self.relay.aclose()

    async def streams(self) -> dict[str, dict[str, list[dict[str, object]] | None]]:
        async with self.client() as client:
            response = await client.get("/api/streams")
            result: dict[str, dict[str, list[dict[str, object]] | None]] = response.json()
            return result


@asynccontextmanager
async def running(folder: Path, deny: tuple[str, ...] = ()) -> AsyncIterator[Go2Rtc]:
    binary = shutil.which("go2rtc")
    if binary is None:
        pytest.skip("needs go2rtc on PATH (`make servers` builds it)")
    server = Go2Rtc(binary, folder, deny=deny)
    await server.start()
    try:
        yield server
        died = server.process is not None and server.process.returncode not in (None, -9)
        assert not died, f"go2rtc crashed:\n{(folder / 'go2rtc.log').read_text()[-4000:]}"
    finally:
        await server.aclose()


@pytest_asyncio.fixture
async def go2rtc(tmp_path: Path) -> AsyncIterator[Go2Rtc]:
    async with running(tmp_path) as server:
        yield server


@pytest_asyncio.fixture
async def gateway(go2rtc: Go2Rtc) -> AsyncIterator[Go2RtcGateway]:
    client = Go2RtcGateway(go2rtc.settings)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture(scope="session")
def clip() -> Clip:
    """One second, looping: 320x180, one key frame a second, no B-frames."""
    return encode({"profile": "high"}, frames=25, gop=25, size=(320, 192))
