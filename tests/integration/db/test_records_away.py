"""What callers see when the database is away or busy."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cluster.stores.db import Database, engine, migrate
from pipelines.errors import UnavailableError
from tests.factories import CIPHER, make_camera
from tests.ports import free_port


async def test_no_server_is_unavailable_and_retryable() -> None:
    async with Database(f"postgresql://u:hunter2@127.0.0.1:{free_port()}/d") as database:
        with pytest.raises(UnavailableError) as caught:
            await database.tenant("acme").cameras()
    assert caught.value.retryable
    assert "hunter2" not in str(caught.value)


async def test_a_writer_waits_for_another_and_then_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    monkeypatch.setattr(engine, "SQLITE_BUSY_TIMEOUT_MS", 50)
    await migrate(f"sqlite:///{path}")
    async with Database(f"sqlite:///{path}", cipher=CIPHER) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"):
            await database.tenant("acme").add_camera(make_camera())
        assert await database.tenant("acme").cameras() == [], "readers do not wait for writers"
        other.execute("ROLLBACK")
        other.close()
        await database.tenant("acme").add_camera(make_camera())
