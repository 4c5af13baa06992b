"""Settings on free ports, and the real servers' binaries (built here where they are missing)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cluster.local.binaries import GO_SERVERS, build_all
from cluster.settings import Settings
from pipelines.errors import UnavailableError
from tests.integration.local.helpers import free_settings


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
