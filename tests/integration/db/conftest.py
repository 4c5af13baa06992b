"""An empty or a migrated database per test, in SQLite and in PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cluster.stores.db import Database, migrate
from pipelines.clock import ManualClock
from tests.factories import CIPHER
from tests.integration.db.postgres import PostgresServer, running_postgres

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server that all tests share."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """Name of a migrated database, to be copied: that takes a fraction of a migration's time."""
    name = postgres_server.create()
    asyncio.run(migrate(postgres_server.url(name)))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a migrated database, to be copied."""
    path = tmp_path_factory.mktemp("records") / "atalaia.db"
    asyncio.run(migrate(_sqlite_url(path)))
    return path


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def empty_url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if engine == "sqlite":
        yield _sqlite_url(tmp_path / "atalaia.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    yield server.owner_url(name)
    server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated database."""
    if engine == "sqlite":
        path = tmp_path / "atalaia.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield _sqlite_url(path)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield server.owner_url(name)
    server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(database_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    """A migrated database with the tenants acme and globex."""
    async with Database(database_url, cipher=CIPHER, clock=clock) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        await database.platform().ensure_tenant("globex", "Globex")
        yield database


def _sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
