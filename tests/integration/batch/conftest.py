"""One Ray for the jobs of this folder, the demo's gate as a video, and a data folder per test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from cluster.core.settings import DetectorSettings, Settings
from cluster.demo.footage import make
from cluster.demo.scene import GroundTruth, Stage
from cluster.stores.db import Database, migrate
from pipelines.domain import Camera
from tests.integration.batch.world import GATE, SIZE
from tests.integration.serve.conftest import ray_session

__all__ = ["ray_session"]

DETECTOR = DetectorSettings(input_width=320, input_height=192)


@pytest.fixture(scope="session")
def video(kept_dir: Path) -> Path:
    """The gate's scene: 30 s, 25 frames/s, a key frame each second, no B-frames."""
    return make(GATE.footage(), kept_dir / "demo")


@pytest.fixture(scope="session")
def truth() -> GroundTruth:
    assert GATE.scene
    return Stage(GATE.scene, SIZE).truth()


@pytest.fixture
def settings(tmp_path: Path, model_cache: Path) -> Settings:
    (tmp_path / "data").mkdir()
    (tmp_path / "models").symlink_to(model_cache, target_is_directory=True)
    return Settings(data_dir=tmp_path, detector=DETECTOR)


async def seed(database: Database) -> None:
    """The tenants acme and globex, each with a camera `gate` and its rules."""
    for tenant in ("acme", "globex"):
        await database.platform().ensure_tenant(tenant, tenant.title())
        records = database.tenant(tenant)
        camera = Camera(
            tenant=tenant, id="gate", name="Gate", url=SecretStr("rtsp://camera.test/1")
        )
        await records.add_camera(camera)
        for rule in GATE.rules:
            await records.add_rule("gate", rule)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    await migrate(settings.database_url)
    async with Database(settings.database_url) as database:
        await seed(database)
        yield database


@pytest.fixture
def videos(tmp_path: Path, video: Path) -> Path:
    """A folder that holds the video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(video, folder / "gate.mp4")
    return folder
