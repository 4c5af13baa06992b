"""`atalaia secrets` as an operator uses it, on real files and a real git repository."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.local.secret_file import SecretFile, secrets_in

OURS = """ATALAIA_LIVEKIT__API_SECRET=
ATALAIA_DATABASE__ENCRYPTION_KEY=
ATALAIA_AUTH__KEYS=
"""


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["secrets", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def values(path: Path) -> dict[str, str]:
    return SecretFile.parse(path.read_text(encoding="utf-8")).values


def levels(path: Path, *arguments: str, code: int) -> dict[str, tuple[str, str]]:
    """Findings of `check`, which shows no secret of the file."""
    output = run("check", path, "--json", *arguments, code=code).stdout
    assert not [secret for secret in secrets_in(values(path)).values() if secret in output]
    return {found["name"]: (found["level"], found["detail"]) for found in json.loads(output)}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    run("init", path)
    return path


def test_a_new_installation(made: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o600
    assert "ATALAIA_PUBLIC_URL" in run("validate", made, code=1).output
    text = made.read_text(encoding="utf-8")
    text = text.replace("PUBLIC_URL=", "PUBLIC_URL=https://atalaia.acme.org")
    made.write_text(text, encoding="utf-8")
    run("validate", made)
    again = values(made)
    run("init", made)
    assert values(made) == again
    found = levels(made, code=0)
    assert {level for level, _ in found.values()} == {"ok"}


def test_what_is_wrong_with_a_file_is_found(made: Path) -> None:
    good = values(made)
    worse = SecretFile.parse(made.read_text(encoding="utf-8")).having(
        {"GATEWAY_SECRET": "short", "POSTGRES_PASSWORD": good["VALKEY_PASSWORD"]}
    )
    made.write_text(worse.text(), encoding="utf-8")
    made.chmod(0o644)

    found = levels(made, code=1)

    assert found["weak"] == (
        "failure", "GATEWAY_SECRET has 5 characters, and should have 32",
    )  # fmt: skip
    assert found["reused"] == ("failure", "VALKEY_PASSWORD = POSTGRES_PASSWORD")
    assert found["permissions"][0] == "failure"
    assert "0644" in found["permissions"][1]


@pytest.fixture
def repository(made: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git(made.parent, "init", "--quiet")
    return made.parent


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@acme.org", "-c", "commit.gpgsign=false")
    subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_what_git_has_or_may_have_is_found(repository: Path, made: Path) -> None:
    detail = levels(made, code=1)["committed"][1]
    assert "does not ignore" in detail

    (repository / ".gitignore").write_text(".env\n", encoding="utf-8")
    assert levels(made, code=0)["committed"] == ("ok", "in no tracked file")

    leaked = values(made)["RAY_AUTH_TOKEN"]
    (repository / "notes.txt").write_text(f"token: {leaked}\n", encoding="utf-8")
    git(repository, "add", "notes.txt", ".gitignore")
    assert levels(made, code=1)["committed"] == (
        "failure", "RAY_AUTH_TOKEN stands in notes.txt",
    )  # fmt: skip

    git(repository, "commit", "--quiet", "-m", "oops")
    git(repository, "rm", "--quiet", "notes.txt")
    git(repository, "commit", "--quiet", "-m", "gone, as it seems")
    assert levels(made, code=0)["committed"][0] == "ok"
    found = levels(made, "--history", code=1)["committed"][1]
    assert found.startswith("RAY_AUTH_TOKEN stands in commit ")

    git(repository, "add", "--force", ".env")
    assert "git tracks" in levels(made, code=1)["committed"][1]


def test_a_rotation_with_compose_and_with_settings(made: Path, tmp_path: Path) -> None:
    first = values(made)["DATABASE_ENCRYPTION_KEY"]
    said = run("rotate", made, "DATABASE_ENCRYPTION_KEY").output
    assert "re-encrypt" in said
    now = values(made)
    assert json.loads(now["DATABASE_DECRYPTION_KEYS"]) == [first]
    assert not [secret for secret in secrets_in(now).values() if secret in said]
    assert "--no-overlap" in run("rotate", made, "QDRANT_API_KEY", code=2).output
    run("rotate", made, "QDRANT_API_KEY", "--no-overlap")
    run("rotate", made, "DATABASE_ENCRYPTION_KEY", "--finish")
    assert json.loads(values(made)["DATABASE_DECRYPTION_KEYS"]) == []
    assert made.stat().st_mode & 0o777 == 0o600

    template, ours = tmp_path / "ours.example", tmp_path / "ours.env"
    template.write_text(OURS, encoding="utf-8")
    run("init", ours, "--template", template)
    run("rotate", ours, "ATALAIA_AUTH__KEYS")
    run("validate", ours)
    with ours.open("a", encoding="utf-8") as file:
        file.write("ATALAIA_REDIS__PASSWORT=mistyped\n")
    assert "ATALAIA_REDIS__PASSWORT" in run("validate", ours, code=1).output


def test_a_link_stays_one_and_what_is_no_file_is_refused(made: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(made)
    run("rotate", link, "DATABASE_ENCRYPTION_KEY")
    assert link.is_symlink()
    assert "DATABASE_DECRYPTION_KEYS" in values(made)
    for wrong in (tmp_path, tmp_path / "nothing"):
        assert "cannot read" in run("check", wrong, code=2).output
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "it is no text" in run("check", binary, code=2).output
