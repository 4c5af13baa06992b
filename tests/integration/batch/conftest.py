"""One Ray for the jobs of this folder, the demo's gate as a video, and a data folder per test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from cluster.core.settings import DetectorSettings, Settings
from cluster.demo.footage import make
from cluster.demo.scene import GroundTruth, Stage
from cluster.stores.db import Database, migrate
from pipelines.domain import Camera
from tests.factories import CIPHER
from tests.integration.batch.world import GATE, SIZE
from tests.integration.serve.conftest import ray_running

DETECTOR = DetectorSettings(input_width=320, input_height=192)
"""A quarter of the usual pixels, and of the time; the figures of the scene are large enough."""
DETECTOR_VARIABLES = {
    "ATALAIA_DETECTOR__INPUT_WIDTH": str(DETECTOR.input_width),
    "ATALAIA_DETECTOR__INPUT_HEIGHT": str(DETECTOR.input_height),
}


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """A cluster without Serve, which jobs with a model of their own do not need."""
    with ray_running():
        yield


@pytest.fixture(scope="session")
def video(kept_dir: Path) -> Path:
    """The gate's scene: 30 s, 25 frames/s, a key frame each second, no B-frames."""
    return make(GATE.footage(), kept_dir / "demo")


@pytest.fixture(scope="session")
def truth() -> GroundTruth:
    assert GATE.scene
    return Stage(GATE.scene, SIZE).truth()


def data_folder(folder: Path, model_cache: Path) -> Path:
    """A `data_dir` without data, but with the exported models."""
    (folder / "data").mkdir(parents=True)
    (folder / "models").symlink_to(model_cache, target_is_directory=True)
    return folder


@pytest.fixture
def settings(tmp_path: Path, model_cache: Path) -> Settings:
    return Settings(data_dir=data_folder(tmp_path, model_cache), detector=DETECTOR)


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
    async with Database(settings.database_url, cipher=CIPHER) as database:
        await seed(database)
        yield database


@pytest.fixture
def videos(tmp_path: Path, video: Path) -> Path:
    """A folder that holds the video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(video, folder / "gate.mp4")
    return folder
