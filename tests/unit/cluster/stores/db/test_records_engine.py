from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cluster.stores.db import Database
from cluster.stores.db.engine import parse_database_url
from pipelines.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////tmp/a.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////tmp/a.db", "sqlite+aiosqlite"),
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg"),
    ],
)
def test_urls_get_our_drivers(url: str, driver: str) -> None:
    assert parse_database_url(url).drivername == driver


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "mysql://u:hunter2@h/d",
        "postgresql+asyncpg://u:hunter2@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:hunter2@h:port/d",
    ],
)
def test_other_urls_are_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_database_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.hint


async def test_the_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "atalaia.db"
    async with Database(f"sqlite:///{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_place_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        Database(f"sqlite:///{tmp_path / 'file' / 'atalaia.db'}")


@pytest.mark.parametrize("tenant", ["", "Acme", "a.b", "a/b", "a' OR '1'='1", "a" * 41, "acme\n"])
async def test_a_tenant_must_be_a_slug(tmp_path: Path, tenant: str) -> None:
    async with Database(f"sqlite:///{tmp_path / 'a.db'}") as database:
        with pytest.raises(InputError):
            database.tenant(tenant)
