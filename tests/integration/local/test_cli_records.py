"""`atalaia migrate`, `tenant` and `key` on a real database."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app


class Shell:
    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(app, list(words))


@pytest.fixture
def atalaia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    return Shell()


def test_from_an_empty_folder_to_a_key_that_is_revoked(atalaia: Shell, tmp_path: Path) -> None:
    assert "from empty to" in atalaia("migrate").output
    assert "up to date" in atalaia("migrate").output
    assert atalaia("tenant", "create", "acme", "--name", "Acme Security").exit_code == 0
    tenants = json.loads(atalaia("tenant", "list", "--json").stdout)
    assert [(tenant["slug"], tenant["name"]) for tenant in tenants] == [("acme", "Acme Security")]

    made = atalaia("key", "create", "acme", "--label", "door")
    secret = made.stdout.strip()
    assert secret.startswith("atk_")
    assert "\n" not in secret
    listed = atalaia("key", "list", "--json")
    assert secret not in listed.output
    (key,) = json.loads(listed.stdout)
    assert (key["tenant"], key["label"], key["revoked_us"]) == ("acme", "door", None)
    assert secret.startswith(f"atk_{key['id']}_")

    assert atalaia("key", "revoke", key["id"]).exit_code == 0
    assert json.loads(atalaia("key", "list", "--json").stdout)[0]["revoked_us"] is not None
    assert "door" in atalaia("key", "list").stdout
    connection = sqlite3.connect(tmp_path / "data" / "atalaia.db")
    logged = "SELECT action, object_id, actor FROM audit WHERE tenant = ? ORDER BY sequence"
    for chain in ("", "acme"):
        assert connection.execute(logged, (chain,)).fetchall() == [
            ("tenant.add", "acme", "system:cli"),
            ("key.issue", key["id"], "system:cli"),
            ("key.revoke", key["id"], "system:cli"),
        ]
    connection.close()
    assert "acme: 3 rows, whole" in atalaia("audit", "verify").stdout


def test_a_key_needs_a_tenant_that_exists(atalaia: Shell) -> None:
    atalaia("migrate")
    result = atalaia("key", "create", "nobody")
    assert result.exit_code == 2
    assert "nobody" in result.output
    assert atalaia("key", "create", "--platform").stdout.startswith("atk_")
    assert atalaia("key", "revoke", "nokey").exit_code == 2
    assert atalaia("tenant", "create", "Not a slug").exit_code == 2


def test_without_migration_it_says_to_migrate(atalaia: Shell) -> None:
    result = atalaia("tenant", "list")
    assert result.exit_code in (1, 2)
    assert "migrate" in result.output
    assert "Traceback" not in result.output
