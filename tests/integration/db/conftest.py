"""A migrated database per test, in SQLite and in PostgreSQL where its server is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from cluster.stores.db import Database, migrate
from pipelines.clock import ManualClock
from tests.factories import CIPHER
from tests.ports import free_port


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root; whom to run it as instead."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server without the database's name."""
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL server on PATH (initdb, postgres)")
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="atalaia-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    subprocess.run(
        [initdb, "-D", data, "-U", "atalaia", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
    )
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"],
            stdout=log,
            stderr=log,
            user=user,
            cwd=folder,
        )
    try:
        url = f"postgresql://atalaia@127.0.0.1:{port}"
        _wait_until_it_answers(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            psycopg.connect(f"{url}/postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            if process.poll() is not None:
                pytest.fail(f"PostgreSQL ended: {log.read_text()}")
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"PostgreSQL did not answer: {log.read_text()}")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'atalaia.db'}"
    server: str = request.getfixturevalue("postgres_server")
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{server.replace('postgresql', 'postgresql+psycopg')}/{name}"


@pytest.fixture
async def database_url(empty_url: str) -> str:
    """URL of a migrated database."""
    await migrate(empty_url)
    return empty_url


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
