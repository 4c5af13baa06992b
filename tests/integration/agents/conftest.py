"""A numbered camera for watchers; servers and bridge are those of the bridge's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.core.settings import Settings
from cluster.demo.scene import GroundTruth
from cluster.demo.simulator import DemoCameras
from tests.integration.agents.scene import ROLE
from tests.integration.agents.world import truth as scene_truth
from tests.integration.bridge.conftest import bridge, servers

__all__ = ["bridge", "cameras", "footage_dir", "servers", "truth"]


@pytest.fixture(scope="session")
def footage_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the clip, so that it is made once."""
    return tmp_path_factory.mktemp("numbered")


@pytest.fixture
def cameras(footage_dir: Path) -> DemoCameras:
    return DemoCameras(Settings(data_dir=footage_dir), roles=(ROLE,))


@pytest.fixture(scope="session")
def truth() -> GroundTruth:
    return scene_truth()
