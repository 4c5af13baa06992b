"""Settings on free ports, and the real servers' binaries (built here where they are missing)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.local.binaries import GO_SERVERS, build_all
from cluster.local.ports import free_port
from cluster.settings import Settings
from pipelines.errors import UnavailableError


def free_settings(data_dir: Path, **changes: Any) -> dict[str, Any]:
    """Settings, as the file would hold them, that collide with nothing on this machine."""
    loopback = "127.0.0.1"
    base: dict[str, Any] = {
        "data_dir": str(data_dir),
        "livekit": {
            "url": f"ws://{loopback}:{free_port()}",
            "rtc_udp_port": free_port("udp"),
            "api_secret": "0123456789abcdef0123456789abcdef-x",
        },
        "gateway": {
            "api_url": f"http://{loopback}:{free_port()}",
            "rtsp_url": f"rtsp://{loopback}:{free_port()}",
        },
        "redis": {"port": free_port()},
        "api": {"port": free_port()},
        "ray": {"dashboard_port": free_port(), "object_store_mb": 100, "num_cpus": 2},
    }
    return {**base, **changes}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(**free_settings(tmp_path / "data"))


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """Paths of livekit-server and go2rtc."""
    try:
        return asyncio.run(build_all(Path(".local")))
    except UnavailableError as error:
        pytest.skip(f"no {' and '.join(server.name for server in GO_SERVERS)} here: {error}")


def alive(pid: int) -> bool:
    """Whether that process still runs; one that only waits to be collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(pids: list[int], within_s: float) -> list[int]:
    """Those of `pids` that still run after at most `within_s`."""
    deadline = asyncio.get_running_loop().time() + within_s
    while left := [pid for pid in pids if alive(pid)]:
        if asyncio.get_running_loop().time() > deadline:
            return left
        await asyncio.sleep(0.05)
    return []
