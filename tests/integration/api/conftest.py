"""The whole API under uvicorn on loopback, over real Valkey, SQLite, blobs and vectors."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from playwright.async_api import Browser

from cluster.core.log import configure_logging
from cluster.core.settings import LogSettings, Settings
from cluster.stores.db import migrate
from tests.browser import chromium
from tests.integration.api.world import Frail, World, make_settings, open_world
from tests.integration.conftest import ValkeyServer


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("sql") / "atalaia.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(autouse=True)
def logs() -> Iterator[io.StringIO]:
    """What the process logs, by the processors that production has."""
    written = io.StringIO()
    configure_logging(LogSettings(level="debug"))
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(written), cache_logger_on_first_use=False
    )
    yield written
    structlog.reset_defaults()


@pytest.fixture
def settings(tmp_path: Path, valkey: str) -> Settings:
    return make_settings(tmp_path, valkey)


@pytest.fixture
async def world(settings: Settings, migrated: Path) -> AsyncIterator[World]:
    async with open_world(settings, migrated) as world:
        yield world


@pytest.fixture
async def frail(
    tmp_path: Path, start_valkey: Callable[[], ValkeyServer], migrated: Path
) -> AsyncIterator[Frail]:
    redis = start_valkey()
    async with open_world(make_settings(tmp_path / "frail", redis.url), migrated) as world:
        yield Frail(world, redis)


@pytest.fixture
async def acme(world: World) -> httpx.AsyncClient:
    return await world.client("acme")


@pytest.fixture
async def globex(world: World) -> httpx.AsyncClient:
    return await world.client("globex")


@pytest.fixture
async def platform(world: World) -> httpx.AsyncClient:
    return await world.client("platform")


@pytest.fixture
async def anonymous(world: World) -> httpx.AsyncClient:
    return await world.client(None)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser
