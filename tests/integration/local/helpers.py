"""Helpers of the local server tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.ports import free_port


def free_settings(data_dir: Path, **changes: Any) -> dict[str, Any]:
    """Settings, as in a file, that conflict with nothing on this machine."""
    loopback = "127.0.0.1"
    base: dict[str, Any] = {
        "data_dir": str(data_dir),
        "livekit": {
            "url": f"ws://{loopback}:{free_port()}",
            "rtc_udp_port": free_port("udp"),
            "api_secret": "0123456789abcdef0123456789abcdef-x",
        },
        "gateway": {
            "rtsp_url": f"rtsp://{loopback}:{free_port()}",
            "relay_url": f"tcp://{loopback}:{free_port()}",
            # Where the tests' own cameras are.
            "allow": ["private", "public", "127.0.0.1"],
        },
        "redis": {"port": free_port()},
        "api": {"port": free_port()},
        "ray": {"dashboard_port": free_port(), "object_store_mb": 100, "num_cpus": 2},
    }
    return {**base, **changes}


def alive(pid: int) -> bool:
    """Whether that process still runs; a zombie does not."""
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


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for an effect of another process."""
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)
