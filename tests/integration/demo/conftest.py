"""Playing demo cameras."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cluster.core.settings import Settings
from cluster.demo.cast import CAST, H265_ROLE
from cluster.demo.simulator import DemoCamera, DemoCameras

Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """Waits until a condition holds; TimeoutError after 60 s."""

    async def wait(true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():  # noqa: ASYNC110 -- the server does not announce the change
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
async def demo(kept_dir: Path) -> AsyncIterator[tuple[DemoCameras, list[DemoCamera]]]:
    cameras = DemoCameras(Settings(data_dir=kept_dir), roles=(*CAST, H265_ROLE))
    playing = await cameras.start()
    yield cameras, playing
    await cameras.aclose()
