"""The demo's cameras, playing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.demo.cast import CAST, H265_ROLE
from cluster.demo.simulator import DemoCamera, DemoCameras
from cluster.settings import Settings


@pytest.fixture(scope="session")
def demo_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the clips, so that they are made once per session."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
async def demo(demo_data_dir: Path) -> AsyncIterator[tuple[DemoCameras, list[DemoCamera]]]:
    cameras = DemoCameras(Settings(data_dir=demo_data_dir), roles=(*CAST, H265_ROLE))
    playing = await cameras.start()
    yield cameras, playing
    await cameras.aclose()
