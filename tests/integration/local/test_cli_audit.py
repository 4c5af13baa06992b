"""`atalaia audit` on a real database, whole and tampered with."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.stores.db import Database, migrate
from tests.unit.cluster.stores.audit.chains import make_event

ROWS = 1_200


async def _fill(url: str) -> None:
    await migrate(url)
    async with Database(url) as database:
        for tenant, rows in (("acme", ROWS), ("globex", 3)):
            await database.platform().ensure_tenant(tenant, tenant)
            await database.audit(tenant).append([make_event(n) for n in range(rows)])
        await database.platform_audit().append([make_event(0)])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with three chains."""
    path = tmp_path_factory.mktemp("audit") / "atalaia.db"
    asyncio.run(_fill(f"sqlite:///{path}"))
    return path


class Shell:
    """Commands on a copy of the database, which may be changed past the triggers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "data" / "atalaia.db"
        self.anchors = folder / "elsewhere" / "anchors.jsonl"

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["audit", *words])

    def tamper(self, *statements: str) -> None:
        connection = sqlite3.connect(self.database)
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0
        connection.commit()
        connection.close()


@pytest.fixture
def audit(tmp_path: Path, filled: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("ATALAIA_CONFIG", "ATALAIA_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ATALAIA_AUDIT__SECRET", "a-secret-of-the-anchors-0123456789")
    shell = Shell(tmp_path)
    shell.database.parent.mkdir()
    shutil.copy(filled, shell.database)
    return shell


def test_a_whole_log_is_whole(audit: Shell) -> None:
    result = audit("verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "(platform): 1 rows, whole",
        "acme: 1200 rows, whole",
        "globex: 3 rows, whole",
    ]
    assert "No anchors" in result.stderr
    assert audit("verify", "--tenant", "globex").stdout.splitlines() == ["globex: 3 rows, whole"]
    assert audit("verify", "--platform").stdout.splitlines() == ["(platform): 1 rows, whole"]
    report = json.loads(audit("verify", "--all", "--json").stdout)
    assert report == {"rows": {"": 1, "acme": ROWS, "globex": 3}, "findings": []}


@pytest.mark.parametrize(
    ("change", "row", "fault"),
    [
        ("UPDATE audit SET actor = 'key:x' WHERE tenant = 'acme' AND sequence = 777", 777, "chang"),
        ("DELETE FROM audit WHERE tenant = 'acme' AND sequence = 501", 501, "missing"),
        (
            "UPDATE audit SET sequence = CASE sequence WHEN 3 THEN -4 ELSE -3 END "
            "WHERE tenant = 'acme' AND sequence IN (3, 4)",
            1,
            "reordered",
        ),
        ("UPDATE audit SET details = 'no json' WHERE tenant = 'acme' AND sequence = 2", 2, "chang"),
    ],
)
def test_a_tampered_copy_is_found_with_its_first_row(
    audit: Shell, change: str, row: int, fault: str
) -> None:
    audit.tamper(change)
    result = audit("verify")
    assert result.exit_code == 1
    assert f"acme: row {row} {fault}" in result.stdout
    assert "globex: 3 rows, whole" in result.stdout
    report = json.loads(audit("verify", "--tenant", "acme", "--json").stdout)
    assert [finding["sequence"] for finding in report["findings"]] == [row]
    assert audit("verify", "--tenant", "globex").exit_code == 0


ROW = "WHERE tenant = 'acme' AND sequence = 2"
LAST = "WHERE tenant = 'acme' AND sequence = 1200"
NO_UTF8 = "CAST(x'6bff1b' AS TEXT)"
DEEP = "[" * 50_000 + "]" * 50_000

UNREADABLE = {
    "deep": (f"UPDATE audit SET details = '{{\"a\": {DEEP}}}' {ROW}", "acme: row 2 changed"),
    "less deep": (
        f"UPDATE audit SET details = '{{\"a\": {'[' * 900 + ']' * 900}}}' {ROW}",
        "acme: row 2 changed",
    ),
    "huge number": (
        f"UPDATE audit SET details = '{{\"a\": {'9' * 9_000}}}' {ROW}",
        "acme: row 2 changed",
    ),
    "blob details": (f"UPDATE audit SET details = x'ff' {ROW}", "acme: row 2 changed"),
    "blob time": (f"UPDATE audit SET at_us = x'ff' {ROW}", "acme: row 2 changed"),
    "text number": (f"UPDATE audit SET sequence = 'zzz' {LAST}", "acme: row 1200 reordered"),
    "blob number": (f"UPDATE audit SET sequence = x'ff' {LAST}", "acme: row 1200 reordered"),
    "long number": (
        f"UPDATE audit SET sequence = '{'z' * 100_000}' {LAST}",
        "acme: row 1200 reordered: a row is numbered 'zzz",
    ),
    "fraction": (f"UPDATE audit SET sequence = 1.5 {LAST}", "acme: row 2 reordered"),
    "capitals": (f"UPDATE audit SET tenant = 'ACME' {LAST}", "'ACME': row 1 foreign: 1 rows stand"),
    "blob name": (
        f"UPDATE audit SET tenant = CAST('acme' AS BLOB) {LAST}",
        "b'acme': row 1 foreign: 1 rows stand",
    ),
    "empty blob name": (f"UPDATE audit SET tenant = x'' {LAST}", "b'': row 1 foreign"),
    "name that is no text": (
        f"UPDATE audit SET tenant = {NO_UTF8} {LAST}",
        r"'k\udcff\x1b': row 1 foreign",
    ),
    "name of another line": (
        f"UPDATE audit SET tenant = 'x' || char(10) || 'acme: 1200 rows, whole' {LAST}",
        r"'x\nacme: 1200 rows, whole': row 1 foreign",
    ),
    **{
        f"{column} that is no text": (
            f"UPDATE audit SET {column} = {NO_UTF8} {ROW}",
            f"acme: row 2 {'reordered' if column == 'prev_hash' else 'changed'}",
        )
        for column in (
            *("actor", "action", "object_kind", "object_id", "address", "reason", "details"),
            *("prev_hash", "hash"),
        )
    },
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_a_finding(audit: Shell, name: str) -> None:
    """It does not end the check: the other chains are read as well."""
    change, said = UNREADABLE[name]
    audit.tamper(change)
    result = audit("verify")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert said in result.stdout
    assert [line for line in result.stdout.splitlines() if "acme" not in line and "'" not in line][
        -2:
    ] == ["(platform): 1 rows, whole", "globex: 3 rows, whole"]
    report = json.loads(audit("verify", "--json").stdout)
    assert len(report["findings"]) == 1
    assert report["rows"]["globex"] == 3


SPELLINGS = {
    "white space": "details || ' '",
    "no white space": "replace(details, ' ', '')",
    "twice": "replace(details, '{', '{\"fields\": 1, ')",
    "escaped": "replace(details, 'f', '\\u0066')",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_the_same_details_is_found(audit: Shell, spelling: str) -> None:
    """What a program that reads the column sees may be something else, as where a name occurs
    twice."""
    url = f"sqlite:///{audit.database}"
    details = {"fields": ["name", "ü"], "count": 3}

    async def add() -> None:
        async with Database(url) as database:
            await database.audit("globex").append([make_event(3, details=details)])

    asyncio.run(add())
    assert "globex: 4 rows, whole" in audit("verify").stdout
    audit.tamper(
        f"UPDATE audit SET details = {SPELLINGS[spelling]} WHERE tenant = 'globex' AND sequence = 4"
    )
    result = audit("verify")
    assert result.exit_code == 1
    assert "globex: row 4 changed" in result.stdout


def test_a_damaged_file_is_told_without_a_stack_trace(audit: Shell) -> None:
    with audit.database.open("r+b") as file:
        size = file.seek(0, 2)
        for page in range(40 * 4096, size - 4096, 4096):
            file.seek(page)
            file.write(b"\xff" * 64)
    result = audit("verify")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "malformed" in result.output


def test_a_chain_with_a_forged_end_is_not_anchored(audit: Shell) -> None:
    audit.tamper(f"UPDATE audit SET hash = 'x' {LAST}")
    result = audit("anchor")
    assert result.exit_code == 1
    assert [json.loads(line)["tenant"] for line in result.stdout.splitlines()] == ["", "globex"]
    assert "acme: not anchored" in result.stderr


def test_a_log_that_never_was_is_a_mistake(audit: Shell) -> None:
    result = audit("verify", "--tenant", "acm")
    assert result.exit_code == 2
    assert "no log of 'acm'" in result.output
    assert "Correct the name" in result.output
    assert audit("verify", "--tenant", "").exit_code == 2
    audit("anchor", "--out", str(audit.anchors))
    audit.tamper("DELETE FROM audit WHERE tenant = 'globex'")
    assert audit("verify", "--tenant", "globex").exit_code == 2
    result = audit("verify", "--tenant", "globex", "--anchors", str(audit.anchors))
    assert (result.exit_code, "globex: row 1 truncated" in result.stdout) == (1, True)


def test_two_rows_in_each_others_place_are_found(audit: Shell) -> None:
    audit.tamper(
        "UPDATE audit SET sequence = 9000 WHERE tenant = 'acme' AND sequence = 3",
        "UPDATE audit SET sequence = 3 WHERE tenant = 'acme' AND sequence = 5",
        "UPDATE audit SET sequence = 5 WHERE tenant = 'acme' AND sequence = 9000",
    )
    result = audit("verify", "--tenant", "acme")
    assert (result.exit_code, "acme: row 3 reordered" in result.stdout) == (1, True)


def test_a_cut_end_is_found_with_anchors_only(audit: Shell) -> None:
    assert audit("anchor", "--out", str(audit.anchors)).stdout.startswith("3 anchors added")
    assert audit("verify", "--anchors", str(audit.anchors)).exit_code == 0
    audit.tamper("DELETE FROM audit WHERE tenant = 'acme' AND sequence > 1000")
    assert audit("verify").exit_code == 0
    result = audit("verify", "--anchors", str(audit.anchors))
    assert result.exit_code == 1
    assert "acme: row 1001 truncated" in result.stdout


def test_a_whole_log_that_is_gone_is_found_with_anchors(audit: Shell) -> None:
    audit("anchor", "--out", str(audit.anchors))
    audit.tamper("DELETE FROM audit WHERE tenant = 'globex'")
    result = audit("verify", "--anchors", str(audit.anchors))
    assert result.exit_code == 1
    assert "globex: row 1 truncated" in result.stdout


def test_the_periodic_anchors_are_used_where_they_are(audit: Shell) -> None:
    audit("anchor", "--out", str(audit.folder / "audit" / "anchors.jsonl"))
    audit.tamper("DELETE FROM audit WHERE tenant = 'acme' AND sequence = 1200")
    result = audit("verify")
    assert (result.exit_code, "acme: row 1200 truncated" in result.stdout) == (1, True)


def test_anchors_without_a_file_go_to_stdout(audit: Shell) -> None:
    lines = [json.loads(line) for line in audit("anchor").stdout.splitlines()]
    assert [(line["tenant"], line["sequence"]) for line in lines] == [
        ("", 1),
        ("acme", ROWS),
        ("globex", 3),
    ]
    assert lines[0].keys() == {"tenant", "sequence", "hash", "at", "kid", "signature"}


def test_a_forged_anchor_is_refused(audit: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    audit("anchor", "--out", str(audit.anchors))
    audit.anchors.write_text(audit.anchors.read_text().replace(f":{ROWS},", ":1000,"))
    result = audit("verify", "--anchors", str(audit.anchors))
    assert (result.exit_code, "wrong signature" in result.output) == (2, True)
    monkeypatch.setenv("ATALAIA_AUDIT__SECRET", "another-secret-of-anchors-0123456789")
    result = audit("verify", "--anchors", str(audit.anchors))
    assert (result.exit_code, "former_secrets" in result.output) == (2, True)


def test_mistakes_say_what_to_do(audit: Shell) -> None:
    for words, said in (
        (("--tenant", "acme", "--platform"), "exclude each other"),
        (("--tenant", "Not a slug"), "a-z"),
        (("--anchors", "/nowhere/a.jsonl"), "/nowhere/a.jsonl"),
    ):
        result = audit("verify", *words)
        assert result.exit_code == 2
        assert said in result.output
        assert "Traceback" not in result.output
