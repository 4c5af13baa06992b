"""`atalaia migrate`, `tenant` and `key` on a real database."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app


class Shell:
    def __call__(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(words), input=stdin)


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


def test_a_key_has_a_role_expires_and_is_rotated(atalaia: Shell) -> None:
    atalaia("migrate")
    atalaia("tenant", "create", "acme")
    made = atalaia(
        *("key", "create", "acme", "--name", "wall", "--role", "viewer"),
        *("--expires-at", "2999-01-31T08:00:00Z"),
    )
    assert made.exit_code == 0, made.output
    new = atalaia("key", "rotate", made.stdout.split("_")[1], "--overlap-s", "60").stdout.strip()
    old, rotated = json.loads(atalaia("key", "list", "--json").stdout)
    assert new.startswith(f"atk_{rotated['id']}_")
    assert (rotated["name"], rotated["role"]) == ("wall", "viewer")
    assert rotated["expires_us"] == 32_474_764_800_000_000
    assert old["expires_us"] < rotated["expires_us"]
    shown = atalaia("key", "list").stdout
    assert "viewer" in shown
    assert "2999-01-31 08:00Z" in shown
    for words in (
        ("key", "create", "acme", "--role", "owner"),
        ("key", "create", "acme", "--expires-at", "2001-01-31"),
        ("key", "create", "--platform", "--role", "viewer"),
        ("key", "rotate", "missing0"),
    ):
        assert atalaia(*words).exit_code == 2, words


def test_a_user_from_the_first_day_to_the_last(atalaia: Shell, tmp_path: Path) -> None:
    atalaia("migrate")
    atalaia("tenant", "create", "acme")
    add = ("user", "create", "acme", "Ana@acme.example", "--role", "operator", "--name", "Ana")
    made = atalaia(*add, stdin="correct horse battery\n")
    assert made.exit_code == 0, made.output
    assert "correct horse" not in made.output
    [user] = json.loads(atalaia("user", "list", "acme", "--json").stdout)
    assert user["id"] in made.stdout
    assert (user["email"], user["role"], user["name"]) == ("ana@acme.example", "operator", "Ana")
    assert "password" not in user

    change = ("user", "change", "acme", "ana@acme.example", "--role", "admin", "--disable")
    assert atalaia(*change).exit_code == 0
    [user] = json.loads(atalaia("user", "list", "acme", "--json").stdout)
    assert (user["role"], user["disabled"], user["name"]) == ("admin", True, "Ana")
    assert "disabled" in atalaia("user", "list", "acme").stdout
    new = atalaia("user", "change", "acme", user["id"], "--password", stdin="another horse\n")
    assert new.exit_code == 0, new.output

    assert atalaia("user", "remove", "acme", user["id"]).exit_code == 0
    assert "no users yet" in atalaia("user", "list", "acme").stdout
    connection = sqlite3.connect(tmp_path / "data" / "atalaia.db")
    logged = "SELECT action, object_id FROM audit WHERE tenant = 'acme' ORDER BY sequence"
    actions = ["user.add", "user.change", "user.change", "user.remove"]
    assert connection.execute(logged).fetchall()[1:] == [(a, user["id"]) for a in actions]
    connection.close()


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("create", "acme", "ana@acme.example", "--role", "viewer"), "short\n"),
        (("create", "acme", "ana@acme.example", "--role", "viewer"), ""),
        (("create", "acme", "ana", "--role", "viewer"), "correct horse battery\n"),
        (("create", "acme", "ana@acme.example", "--role", "platform"), "correct horse battery\n"),
        (("create", "nobody", "ana@acme.example", "--role", "viewer"), "correct horse battery\n"),
        (("change", "acme", "bob@acme.example", "--role", "viewer"), None),
        (("remove", "acme", "abcdefghijkl"), None),
    ],
)
def test_what_is_no_user(atalaia: Shell, words: tuple[str, ...], stdin: str | None) -> None:
    atalaia("migrate")
    atalaia("tenant", "create", "acme")
    result = atalaia("user", *words, stdin=stdin)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert json.loads(atalaia("user", "list", "acme", "--json").stdout) == []


def test_groups_limit_a_key_and_a_user(atalaia: Shell, tmp_path: Path) -> None:
    atalaia("migrate")
    atalaia("tenant", "create", "acme")
    assert "no groups yet" in atalaia("group", "list", "acme").stdout
    made = atalaia("group", "create", "acme", "entrances", "--name", "Entrances")
    assert made.exit_code == 0, made.output
    for words in (("key", "create", "acme", "--name", "wall"), USER):
        limited = atalaia(
            *words, "--role", "viewer", "--group", "entrances", stdin="correct horse battery\n"
        )
        assert limited.exit_code == 0, limited.output
    [key] = json.loads(atalaia("key", "list", "--json").stdout)
    [user] = json.loads(atalaia("user", "list", "acme", "--json").stdout)
    assert (key["groups"], user["groups"]) == (["entrances"], ["entrances"])
    for shown in (atalaia("key", "list").stdout, atalaia("user", "list", "acme").stdout):
        assert "entrances" in shown
    [group] = json.loads(atalaia("group", "list", "acme", "--json").stdout)
    assert (group["id"], group["users"], group["keys"]) == ("entrances", 1, 1)
    assert atalaia("group", "change", "acme", "entrances", "--name", "Doors").exit_code == 0
    assert "Doors" in atalaia("group", "list", "acme").stdout

    assert atalaia("group", "remove", "acme", "entrances").exit_code == 2
    change = ("user", "change", "acme", "ana@acme.example")
    assert atalaia(*change, "--group", "entrances", "--all-cameras").exit_code == 2
    assert atalaia(*change, "--all-cameras").exit_code == 0
    [user] = json.loads(atalaia("user", "list", "acme", "--json").stdout)
    assert user["groups"] is None
    assert atalaia("key", "revoke", key["id"]).exit_code == 0
    assert atalaia("group", "remove", "acme", "entrances").exit_code == 0
    connection = sqlite3.connect(tmp_path / "data" / "atalaia.db")
    logged = "SELECT action FROM audit WHERE tenant = 'acme' AND object_kind = 'group'"
    actions = [action for (action,) in connection.execute(f"{logged} ORDER BY sequence")]
    connection.close()
    assert actions == ["group.add", "group.change", "group.remove"]


USER = ("user", "create", "acme", "ana@acme.example")


@pytest.mark.parametrize(
    "words",
    [
        ("group", "create", "acme", "Not a slug"),
        ("group", "create", "nobody", "x"),
        ("group", "create", "acme", "x", "--camera", "missing"),
        ("group", "change", "acme", "missing", "--name", "x"),
        ("group", "remove", "acme", "missing"),
        ("key", "create", "acme", "--role", "viewer", "--group", "missing"),
        ("key", "create", "acme", "--group", "door"),
        (*USER, "--role", "admin", "--group", "door"),
    ],
)
def test_what_is_no_group(atalaia: Shell, words: tuple[str, ...]) -> None:
    atalaia("migrate")
    atalaia("tenant", "create", "acme")
    atalaia("group", "create", "acme", "door")
    result = atalaia(*words, stdin="correct horse battery\n")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert len(json.loads(atalaia("group", "list", "acme", "--json").stdout)) == 1
