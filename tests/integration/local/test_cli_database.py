"""`atalaia database re-encrypt` on a real SQLite file, whose bytes are searched for passwords."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.core.settings import Settings, load_settings
from cluster.local.secrets import database_key_path, with_database_key
from cluster.local.stack import LocalStack
from cluster.runtime.application import Application
from cluster.stores.db import CameraChanges, Database, RecordCipher, migrate
from pipelines.domain import Camera
from pipelines.errors import ConfigError
from tests.factories import make_camera

PASSWORD = "hunter2-at-rest"
CAMERAS = 230  # more than two pages
NEXT_KEY = "the-key-of-next-year-0123456789-abcdef"

Run = Callable[..., Result]


def database_file(folder: Path) -> Path:
    return folder / "data" / "atalaia.db"


def cipher() -> RecordCipher:
    return RecordCipher.of(with_database_key(load_settings()))


def in_files(folder: Path, needle: str) -> bool:
    """Whether the database, its write-ahead log and their like hold this text."""
    files = [path for path in (folder / "data").rglob("*") if path.is_file()]
    assert database_file(folder) in files
    return any(needle.encode() in path.read_bytes() for path in files)


async def _fill(folder: Path) -> None:
    keys = RecordCipher.of(with_database_key(Settings(data_dir=folder)))
    url = f"sqlite:///{database_file(folder)}"
    await migrate(url)
    async with Database(url, cipher=keys) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        for n in range(CAMERAS):
            await database.tenant("acme").add_camera(
                make_camera(id=f"cam-{n}", url=f"rtsp://u:{PASSWORD}@192.0.2.10/{n}")
            )


def as_before_there_was_encryption(folder: Path) -> None:
    connection = sqlite3.connect(database_file(folder))
    connection.execute(
        "UPDATE cameras SET url = 'rtsp://u:' || ? || '@192.0.2.10/' || substr(id, 5)", (PASSWORD,)
    )
    connection.commit()
    connection.close()


async def read(folder: Path) -> list[Camera]:
    async with Database(f"sqlite:///{database_file(folder)}", cipher=cipher()) as database:
        return await database.tenant("acme").cameras()


def urls(folder: Path) -> set[str]:
    return {camera.url.get_secret_value() for camera in asyncio.run(read(folder))}


EXPECTED = {f"rtsp://u:{PASSWORD}@192.0.2.10/{n}" for n in range(CAMERAS)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with cameras and the key to them."""
    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(_fill(folder))
    return folder


@pytest.fixture
def atalaia(tmp_path: Path, filled: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line on one machine with a full database."""
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_what_the_records_write_is_in_no_file(atalaia: Run, tmp_path: Path) -> None:
    assert not in_files(tmp_path, PASSWORD)
    key = database_key_path(load_settings()).read_text().strip()
    assert not in_files(tmp_path, key)
    assert urls(tmp_path) == EXPECTED
    checked = atalaia("database", "re-encrypt", "--check")
    assert checked.exit_code == 0, checked.output
    assert f"{CAMERAS} cameras: 0 secrets are not encrypted with key" in checked.stdout


def test_an_upgrade_leaves_nothing_in_plain_text(atalaia: Run, tmp_path: Path) -> None:
    as_before_there_was_encryption(tmp_path)
    assert in_files(tmp_path, PASSWORD)
    assert urls(tmp_path) == EXPECTED
    warned = atalaia("migrate")
    assert warned.exit_code == 0
    assert f"The URLs of {CAMERAS} cameras are not encrypted" in warned.output
    assert atalaia("database", "re-encrypt", "--check").exit_code == 1
    assert in_files(tmp_path, PASSWORD)

    done = atalaia("database", "re-encrypt")
    assert done.exit_code == 0, done.output
    assert f"{CAMERAS} secrets are now encrypted with key {cipher().kid}" in done.stdout
    assert f"({CAMERAS} plain text, 0 with another key); 0 had it already" in done.stdout
    assert not in_files(tmp_path, PASSWORD)
    assert urls(tmp_path) == EXPECTED
    again = atalaia("database", "re-encrypt")
    assert (again.exit_code, f"{CAMERAS} had it already" in again.stdout) == (0, True)
    assert "not encrypted" not in atalaia("migrate").output

    connection = sqlite3.connect(database_file(tmp_path))
    logged = connection.execute("SELECT tenant, action, object_id, actor FROM audit").fetchall()
    connection.close()
    assert logged == [("", "secrets.reencrypt", cipher().kid, "system:cli")]
    assert "whole" in atalaia("audit", "verify").stdout


def test_the_key_is_changed_without_a_camera_that_cannot_be_read(
    atalaia: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = database_key_path(load_settings()).read_text().strip()
    old_kid = cipher().kid
    # As docs/operations.md has it: known everywhere, then current, then alone.
    monkeypatch.setenv("ATALAIA_DATABASE__DECRYPTION_KEYS", f'["{NEXT_KEY}"]')
    assert urls(tmp_path) == EXPECTED
    monkeypatch.setenv("ATALAIA_DATABASE__ENCRYPTION_KEY", NEXT_KEY)
    monkeypatch.setenv("ATALAIA_DATABASE__DECRYPTION_KEYS", f'["{first}"]')
    assert urls(tmp_path) == EXPECTED
    assert atalaia("database", "re-encrypt", "--check").exit_code == 1
    done = atalaia("database", "re-encrypt")
    assert done.exit_code == 0, done.output
    assert f"(0 plain text, {CAMERAS} with another key); 0 had it already" in done.stdout
    monkeypatch.delenv("ATALAIA_DATABASE__DECRYPTION_KEYS")
    assert urls(tmp_path) == EXPECTED
    assert not in_files(tmp_path, f"enc1.{old_kid}")
    for text in (PASSWORD, first, NEXT_KEY):
        assert text not in done.output
        assert not in_files(tmp_path, text)


def test_what_cannot_be_decrypted_is_named_and_the_rest_is_done(
    atalaia: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = database_key_path(load_settings()).read_text().strip()
    kid = cipher().kid
    monkeypatch.setenv("ATALAIA_DATABASE__ENCRYPTION_KEY", NEXT_KEY)

    async def mend() -> None:
        async with Database(f"sqlite:///{database_file(tmp_path)}", cipher=cipher()) as database:
            url = SecretStr(f"rtsp://u:{PASSWORD}@192.0.2.10/0")
            await database.tenant("acme").update_camera("cam-0", CameraChanges(url=url))

    asyncio.run(mend())
    result = atalaia("database", "re-encrypt")
    assert result.exit_code == 1
    assert f"acme/cam-7: url is encrypted with the key {kid}, which is missing" in result.output
    assert result.output.count("which is missing") == CAMERAS - 1
    assert "acme/cam-0:" not in result.output
    assert "Traceback" not in result.output
    assert not any(text in result.output for text in ("enc1.", PASSWORD, NEXT_KEY, first))
    assert len([c for c in asyncio.run(read(tmp_path)) if not c.unreadable]) == 1


def test_a_file_that_others_read_is_not_called_clean(atalaia: Run, tmp_path: Path) -> None:
    as_before_there_was_encryption(tmp_path)
    reader = sqlite3.connect(database_file(tmp_path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM cameras").fetchone()
    result = atalaia("database", "re-encrypt")
    assert result.exit_code == 0, result.output
    assert "Stop Atalaia, and run this again" in result.output
    reader.close()
    assert "Stop Atalaia" not in atalaia("database", "re-encrypt").output
    assert not in_files(tmp_path, PASSWORD)


def test_a_database_of_ones_own_without_a_key_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ATALAIA_DATABASE__URL", f"sqlite:///{tmp_path}/own.db")
    result = CliRunner().invoke(app, ["database", "re-encrypt"])
    assert result.exit_code == 2, result.output
    assert "database.encryption_key is not set" in result.output
    assert "ATALAIA_DATABASE__ENCRYPTION_KEY" in result.output
    with pytest.raises(ConfigError, match="encryption_key is not set"):
        LocalStack(load_settings())
    with pytest.raises(ConfigError, match="encryption_key is not set"):
        asyncio.run(Application(load_settings()).start())
    assert not (tmp_path / "keys").exists()
    assert not (tmp_path / "own.db").exists()
