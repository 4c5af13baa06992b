"""Two tenants with everything that is kept, on real SQLite, files, Valkey and vectors."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cluster.stores.db import migrate
from tests.integration.erasure.place import Place, open_place


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("sql") / "atalaia.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
async def place(tmp_path: Path, migrated: Path, redis_client: Redis) -> AsyncIterator[Place]:
    await asyncio.to_thread(shutil.copy, migrated, tmp_path / "atalaia.db")
    async with open_place(tmp_path, redis_client) as place:
        yield place
