"""Settings on free ports, and the real servers' binaries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.core.settings import Settings
from cluster.local.binaries import GO_SERVERS, find_binary
from tests.integration.local.helpers import free_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(**free_settings(tmp_path / "data"))


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """Paths of livekit-server and go2rtc. Not built here: that takes longer than a test may."""
    found = {server.name: find_binary(server.name) for server in GO_SERVERS}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        message = f"{' and '.join(missing)} not found; `make servers` builds them"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return {name: path for name, path in found.items() if path is not None}
