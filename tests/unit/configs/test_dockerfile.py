"""The Dockerfile: linted, pinned, and made of what is in the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) \\\n((?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE)


def test_hadolint_has_nothing_to_say() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (extra `dev`)")
    done = subprocess.run(
        [hadolint, str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_base_images_are_pinned_to_a_patch_version() -> None:
    images = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert len(images) == 3
    assert all(re.search(r":\d+\.\d+\.\d+-(?:bookworm-)?slim", image) for image in images)


def test_it_runs_as_a_fixed_user_that_is_not_root() -> None:
    assert re.findall(r"^USER (\S+)", TEXT, re.MULTILINE) == ["10001:10001"]


def test_health_is_asked_of_the_real_endpoint() -> None:
    assert "http://127.0.0.1:8000/healthz" in TEXT


def test_commands_are_in_exec_form() -> None:
    """A shell in between would swallow SIGTERM."""
    for instruction in ("ENTRYPOINT", "CMD"):
        found = re.findall(rf"^\s*{instruction} (.)", TEXT, re.MULTILINE)
        assert found
        assert set(found) == {"["}


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for arguments in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE):
        *sources, _ = [a for a in arguments.split() if not a.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source.rstrip("/").split("/")[0] in allowed, source


def test_the_image_carries_the_versions_that_were_tested() -> None:
    """The runtime lock is the whole lock less what only development needs, hash for hash."""
    whole, runtime = (
        {name: (version, hashes) for name, version, hashes in PINNED.findall(path.read_text())}
        for path in (ROOT / "requirements.lock", ROOT / "configs/requirements-runtime.lock")
    )
    assert runtime.items() <= whole.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {_name(r) for r in [*project["dependencies"], *extras["demo"], *extras["s3"]]}
    assert wanted <= set(runtime)
    assert not {"pytest", "mypy", "ruff", "playwright"} & set(runtime)


def test_locks_name_no_address() -> None:
    for lock in ("requirements.lock", "configs/requirements-runtime.lock"):
        assert "://" not in (ROOT / lock).read_text(encoding="utf-8")


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower()
