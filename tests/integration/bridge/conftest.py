"""Servers per test, clips per session, and a bridge that must leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from cluster.bridge.bridge import Bridge
from cluster.core.settings import Settings
from tests.integration.bridge.world import Servers
from tests.unit.cluster.media.clips import Clip, encode


@asynccontextmanager
async def servers_in(data_dir: Path, redis_url: str) -> AsyncIterator[Servers]:
    world = Servers(data_dir, redis_url)
    try:
        await world.start()
        yield world
    finally:
        await world.aclose()


@asynccontextmanager
async def bridge_of(settings: Settings) -> AsyncIterator[Bridge]:
    """A bridge; afterwards no thread of it may be left."""
    running = Bridge(settings)
    try:
        yield running
    finally:
        await running.aclose()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("pump ")]
    assert left == []


@pytest_asyncio.fixture
async def servers(tmp_path: Path, valkey: str, redis_client: Redis) -> AsyncIterator[Servers]:
    async with servers_in(tmp_path / "data", valkey) as world:
        yield world


@pytest_asyncio.fixture
async def bridge(servers: Servers) -> AsyncIterator[Bridge]:
    async with bridge_of(servers.settings) as running:
        yield running
        # Most tests have taken their cameras away. A pump that waits for one would do so for
        # `read_timeout_s`, 3 s in each test; the end of its connection ends the wait.
        await servers.go2rtc.aclose()


@pytest.fixture(scope="session")
def clip() -> Clip:
    """One second, looping, one key frame, no B-frames."""
    return encode({"profile": "high"}, frames=25, gop=25, size=(320, 192))


@pytest.fixture(scope="session")
def night_clip() -> Clip:
    """The same camera at night: another size, another shape."""
    return encode({"profile": "high"}, frames=25, gop=25, size=(256, 256))
