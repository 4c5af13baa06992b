"""`atalaia secrets` as an operator uses it, on real files and a real git repository."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.local.secret_file import MAX_BYTES, SecretFile, secrets_in

OURS = """ATALAIA_LIVEKIT__API_SECRET=
ATALAIA_DATABASE__ENCRYPTION_KEY=
ATALAIA_AUTH__KEYS=
"""


def run(*arguments: str | Path, code: int = 0, given: str = "") -> Result:
    result = CliRunner().invoke(app, ["secrets", *map(str, arguments)], input=given)
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


def test_an_encrypted_copy_brings_the_file_back(made: Path, tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    key, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    keys, copy, back = tmp_path / "key.txt", tmp_path / "env.age", tmp_path / "back"
    keys.write_text(f"# created by hand\n{key}\n", encoding="utf-8")
    for_both = ("--recipient", str(other.to_public()), "--recipient", str(key.to_public()))

    said = run("backup", made, copy, *for_both).output

    sealed = copy.read_text(encoding="utf-8")
    assert not [s for s in secrets_in(values(made)).values() if s in sealed + said]
    # What any other age program does.
    assert pyrage.decrypt(sealed.encode(), [other]) == made.read_bytes()
    run("restore", copy, back, "--identity", keys)
    assert back.read_bytes() == made.read_bytes()
    assert [path.stat().st_mode & 0o777 for path in (copy, back)] == [0o600, 0o600]
    assert "exists" in run("restore", copy, back, "--identity", keys, code=2).output
    assert "exists" in run("backup", made, copy, *for_both, code=2).output

    back.unlink()
    keys.write_text(f"{pyrage.x25519.Identity.generate()}\n", encoding="utf-8")
    assert "cannot be decrypted" in run("restore", copy, back, "--identity", keys, code=1).output
    keys.write_text(f"{key}\n", encoding="utf-8")
    copy.write_text(sealed.replace(sealed[200:203], "AAA"), encoding="utf-8")
    assert "cannot be decrypted" in run("restore", copy, back, "--identity", keys, code=1).output
    assert "is no copy" in run("restore", made, back, "--identity", keys, code=1).output
    assert not back.exists()


def test_what_is_no_key_is_refused_without_being_shown(made: Path, tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    secret = str(pyrage.x25519.Identity.generate())
    copy = tmp_path / "env.age"
    said = run("backup", made, copy, "--recipient", secret, code=2).output
    assert "recipient 1 is no public key" in said
    assert secret not in said
    for text in ("", "# none\n", "hidden\n"):
        keys = tmp_path / "key.txt"
        keys.write_text(text, encoding="utf-8")
        said = run("restore", made, copy, "--identity", keys, code=2).output
        assert "the file of keys has" in said
        assert "hidden" not in said
    assert not copy.exists()


def test_a_passphrase_does_too(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyrage")
    copy, back, words = tmp_path / "env.age", tmp_path / "back", "correct horse battery staple"
    assert "15 characters" in run("backup", made, copy, given="too short by 1.\n", code=2).output
    assert "no passphrase" in run("backup", made, copy, code=2).output
    run("backup", made, copy, given=f"{words}\n")
    run("restore", copy, back, given=f"{words}\n")
    assert back.read_bytes() == made.read_bytes()


def test_the_longest_file_comes_back_from_its_copy(tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    key = pyrage.x25519.Identity.generate()
    keys, long, copy, back = (tmp_path / name for name in ("key.txt", "long", "long.age", "back"))
    keys.write_text(f"{key}\n", encoding="utf-8")
    long.write_text("\U0001f511" * MAX_BYTES, encoding="utf-8")
    run("backup", long, copy, "--recipient", str(key.to_public()))
    run("restore", copy, back, "--identity", keys)
    assert back.read_bytes() == long.read_bytes()
