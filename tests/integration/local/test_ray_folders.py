"""Folders of Ray's sessions: none is left at a shutdown, none in use is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.core.settings import Settings
from cluster.local import ray_folder
from cluster.local.process import SupervisedProcess
from cluster.local.ray_folder import RayFolder, folder_path, new_folder, remove_stale
from cluster.local.ray_head import ray_spec, session_root
from pipelines.clock import SystemClock
from pipelines.errors import ConfigError, UnavailableError

OWNER = """
import sys
from cluster.local.ray_folder import RayFolder, folder_path
folder = RayFolder(folder_path(sys.argv[1]))
folder.open()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's temporary folder, for this test alone."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@contextmanager
def process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that has written its first line, and is killed at the end."""
    argv = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline()
            yield running
        finally:
            running.kill()


def left(name: str = "0123abcd") -> Path:
    """A folder with content, as a process leaves it that was killed."""
    path = folder_path(name)
    (path / "s" / "session_2026-01-01_00-00-00_000000_1" / "sockets").mkdir(parents=True)
    (path / "s" / "session_2026-01-01_00-00-00_000000_1" / "sockets" / "raylet").touch()
    return path


def test_a_folder_is_private_while_it_is_open_and_gone_afterwards(temp: Path) -> None:
    folder = new_folder()
    assert folder.path.stat().st_mode & 0o077 == 0
    folder.sessions.mkdir()
    folder.open()
    assert list(temp.iterdir()) == [folder.path]
    folder.close()
    folder.close()
    assert list(temp.iterdir()) == []


def test_one_that_was_never_open_is_not_removed() -> None:
    path = left()
    RayFolder(path).close()
    assert path.exists()


def test_the_newest_logs_are_kept_in_place_of_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_folder, "MAX_KEPT_LOGS", 250)
    kept = tmp_path / "ray"
    for session in ("first", "second"):
        folder = new_folder()
        logs = folder.sessions / "session_1" / "logs"
        (logs / "events").mkdir(parents=True)
        (folder.sessions / "session_latest").symlink_to("session_1")
        for age, name in enumerate(["raylet.out", "events/gcs.log", f"{session}.log", "old.log"]):
            (logs / name).write_text(f"{session} " * 10)
            os.utime(logs / name, (1e9 - age, 1e9 - age))
        (logs / "worker.sock").symlink_to("/etc/passwd")
        folder.close(kept)
    found = {str(p.relative_to(kept)): p.read_text() for p in kept.rglob("*") if p.is_file()}
    assert found == dict.fromkeys(["raylet.out", "events/gcs.log", "second.log"], "second " * 10)


def test_logs_that_cannot_be_kept_do_not_keep_the_folder(tmp_path: Path) -> None:
    folder = new_folder()
    (folder.sessions / "session_latest" / "logs").mkdir(parents=True)
    (folder.sessions / "session_latest" / "logs" / "raylet.out").touch()
    (tmp_path / "file").touch()
    folder.close(tmp_path / "file" / "ray")
    assert not folder.path.exists()


def test_what_killed_processes_left_is_removed_and_nothing_else(temp: Path) -> None:
    stale = left()
    with process(OWNER, "aaaaaaaa") as owner:
        alive = folder_path("aaaaaaaa")
        others = [
            temp / f"atalaia-ray-{os.getuid() + 1}-0123abcd",
            temp / "atalaia-ray",
            temp / "ray",
        ]
        for other in others:
            other.mkdir()
        (temp / f"atalaia-ray-{os.getuid()}-file").touch()
        target = temp / "target"
        target.mkdir()
        (temp / f"atalaia-ray-{os.getuid()}-link").symlink_to(target)
        before = set(temp.iterdir())

        assert remove_stale() == [stale]

        assert set(temp.iterdir()) == before - {stale}
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert remove_stale() == [alive]
        assert set(temp.iterdir()) == before - {stale, alive}


def test_a_folder_whose_processes_have_outlived_their_owner_stays() -> None:
    """The subreaper above Ray and each of Ray's servers have it in their command line."""
    path = left()
    waiting = "import sys; print(flush=True); sys.stdin.read()"
    with process(waiting, f"--temp-dir={path}/s"):
        assert remove_stale() == []
        assert path.exists()
    assert remove_stale() == [path]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_neither_removed_nor_used() -> None:
    path = left()
    os.chown(path, 12_345, -1)
    assert remove_stale() == []
    with pytest.raises(ConfigError, match="belongs to another user"):
        RayFolder(path).open()
    assert path.exists()


def test_a_link_in_place_of_a_folder_is_not_used(temp: Path) -> None:
    target = temp / "target"
    target.mkdir()
    folder_path("link").symlink_to(target)
    with pytest.raises(ConfigError, match="belongs to another user"):
        RayFolder(folder_path("link")).open()


def test_one_folder_has_one_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_folder, "LOCK_TRIES", 2)
    with process(OWNER, "aaaaaaaa"):
        with pytest.raises(ConfigError, match="in use by another process"):
            RayFolder(folder_path("aaaaaaaa")).open()
    free = RayFolder(folder_path("aaaaaaaa"))
    free.open()
    free.close()


def test_no_folder_is_removed_between_its_making_and_its_end() -> None:
    """Owners come and go at the same name while others look for stale folders."""
    ended = threading.Event()
    lost: list[int] = []

    def clean() -> None:
        while not ended.is_set():
            remove_stale()

    cleaners = [threading.Thread(target=clean) for _ in range(2)]
    for cleaner in cleaners:
        cleaner.start()
    try:
        for number in range(100):
            folder = RayFolder(folder_path("0123abcd"))
            folder.open()
            mark = folder.path / "mark"
            mark.touch()
            lost += [] if mark.exists() else [number]
            folder.close()
    finally:
        ended.set()
        for cleaner in cleaners:
            cleaner.join()
    assert lost == []


def test_logs_of_the_session_before_are_still_there_during_the_next(tmp_path: Path) -> None:
    spec = ray_spec(Settings(data_dir=tmp_path / "data"), 1)
    link = spec.log_dir / "ray"
    for session in ("first", "second", "third"):
        spec.prepare()
        logs = link.parent / link.readlink()
        logs.mkdir(parents=True)
        (logs / "raylet.out").write_text(session)
        assert (link / "raylet.out").read_text() == session
        spec.cleanup()
        assert (link / "raylet.out").read_text() == session
    assert (spec.log_dir / "ray.1" / "raylet.out").read_text() == "second"


async def test_a_head_that_cannot_have_its_folder_says_so(temp: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    session_root(settings).symlink_to(temp)
    head = SupervisedProcess(ray_spec(settings, 1), clock=SystemClock())
    with pytest.raises(UnavailableError, match=r"ray could not.* belongs to another user"):
        await head.start()
    await head.aclose()
    assert session_root(settings).is_symlink()
