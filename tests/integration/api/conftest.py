"""The whole API under uvicorn on loopback, over real Valkey, SQLite, blobs and vectors."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import structlog
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient

from cluster.blobs import TenantBlobs
from cluster.bus import open_redis
from cluster.log import configure_logging
from cluster.records import Database, migrate
from cluster.settings import LiveKitSettings, LogSettings, Settings
from pipelines.clock import SystemClock
from serve.api.app import create_app
from serve.api.ports import Deps
from tests.integration.api.ports import (
    ColourEmbedder,
    Controller,
    Hosts,
    StillDetector,
    VectorMemory,
)
from tests.integration.api.world import LIVEKIT_SECRET, TENANTS, Valkey, World, served


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


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
def settings(tmp_path: Path, valkey: Valkey) -> Settings:
    return Settings(
        data_dir=tmp_path,
        redis={"url": valkey.url},
        livekit=LiveKitSettings(
            public_url="wss://live.example",
            api_secret=SecretStr(LIVEKIT_SECRET),
        ),
        api={"max_upload_mb": 2, "max_image_megapixels": 40},
    )


@pytest.fixture
async def world(settings: Settings, valkey: Valkey, migrated: Path) -> AsyncIterator[World]:
    path = Path(settings.database_url.removeprefix("sqlite+aiosqlite:///"))
    path.parent.mkdir(parents=True)
    shutil.copy(migrated, path)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings.database_url))
        redis = await stack.enter_async_context(open_redis(valkey.url))
        await redis.flushall()
        platform = database.platform()
        keys = {"platform": (await platform.create_key(None, "operator")).secret}
        for tenant in TENANTS:
            await platform.ensure_tenant(tenant, tenant.title())
            keys[tenant] = (await platform.create_key(tenant, "tests")).secret
        detector, controller, hosts = StillDetector(), Controller(), Hosts()
        memory = VectorMemory(AsyncQdrantClient(":memory:"))
        await memory.open(ColourEmbedder.dim)
        deps = Deps(
            settings=settings,
            clock=SystemClock(),
            database=database,
            redis=redis,
            detector=detector,
            embedder=ColourEmbedder(),
            memory=memory,
            controller=controller,
            hosts=hosts,
            blobs=lambda tenant: TenantBlobs(settings.blob_url, tenant),
        )
        app = create_app(deps)
        url = await stack.enter_async_context(served(app))
        yield World(
            url, app, deps, database, redis, detector, controller, hosts, memory, keys, stack
        )


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
