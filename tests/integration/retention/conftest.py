"""A site with everything that is kept, on real SQLite, files and vectors."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.stores.db import migrate
from tests.integration.retention.site import Site, Stuck, open_site


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("sql") / "atalaia.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
async def site(tmp_path: Path, migrated: Path) -> AsyncIterator[Site]:
    await asyncio.to_thread(shutil.copy, migrated, tmp_path / "atalaia.db")
    async with open_site(tmp_path) as site:
        yield site


@pytest.fixture
async def stuck(site: Site) -> Stuck:
    """The storage of acme, of which a test may say what it refuses."""
    await site.blobs["acme"].aclose()
    blobs = Stuck(f"file://{site.folder}/blobs", "acme")
    site.blobs["acme"] = blobs
    return blobs
