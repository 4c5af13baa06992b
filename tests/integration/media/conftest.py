"""A real go2rtc per test module, and clips for cameras to play."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from cluster.media.go2rtc import Go2RtcGateway
from cluster.settings import GatewaySettings
from tests.unit.cluster.media.clips import Clip, encode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Go2Rtc:
    """A go2rtc process on loopback. Its configuration file survives `restart`."""

    binary: str
    folder: Path
    api_port: int = field(default_factory=free_port)
    rtsp_port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def config(self) -> Path:
        return self.folder / "go2rtc.yaml"

    @property
    def settings(self) -> GatewaySettings:
        return GatewaySettings(
            kind="go2rtc",
            api_url=f"http://127.0.0.1:{self.api_port}",
            rtsp_url=f"rtsp://127.0.0.1:{self.rtsp_port}",
        )

    async def start(self) -> None:
        if not self.config.exists():
            self.config.write_text(
                f'api: {{listen: "127.0.0.1:{self.api_port}"}}\n'
                f'rtsp: {{listen: "127.0.0.1:{self.rtsp_port}"}}\n'
                'webrtc: {listen: ""}\nsrtp: {listen: ""}\nlog: {level: debug}\n'
            )
        log = (self.folder / "go2rtc.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            self.binary, "-c", str(self.config), stdout=log, stderr=log, env=self.environment
        )
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(100):
                try:
                    await client.get(f"{self.settings.api_url}/api")
                    return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        raise AssertionError((self.folder / "go2rtc.log").read_text())

    async def stop(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def streams(self) -> dict[str, dict[str, list[dict[str, object]] | None]]:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(f"{self.settings.api_url}/api/streams")
            result: dict[str, dict[str, list[dict[str, object]] | None]] = response.json()
            return result


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Go2Rtc]:
    binary = shutil.which("go2rtc")
    if binary is None:
        pytest.skip("needs go2rtc on PATH (`make servers` builds it)")
    server = Go2Rtc(binary, folder)
    await server.start()
    try:
        yield server
        died = server.process is not None and server.process.returncode not in (None, -9)
        assert not died, f"go2rtc crashed:\n{(folder / 'go2rtc.log').read_text()[-4000:]}"
    finally:
        await server.stop()


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
