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

__all__ = ["bridge", "cameras", "servers", "truth"]


@pytest.fixture
def cameras(kept_dir: Path) -> DemoCameras:
    return DemoCameras(Settings(data_dir=kept_dir), roles=(ROLE,))


@pytest.fixture(scope="session")
def truth() -> GroundTruth:
    return scene_truth()
