"""The folder of Ray's sessions: private, locked while in use, and removed afterwards.

It lies in the machine's temporary folder, not in `data_dir`, because a socket's path has at most
107 bytes. Nobody else cleans up there for months, so whoever starts Ray also removes the folders of
processes that were killed. A folder is in use while

- its owner holds a lock on it, on the directory itself: the kernel releases it when the owner ends,
  however it ends;
- or a process has its name in its command line, as every server of Ray has, and the subreaper above
  them. They end some seconds after an owner that was killed.

The lock is taken before a process is started, and processes are listed after the lock was taken. So
no folder is removed between its making and the start of its first process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from cluster.core.log import get_logger
from cluster.local.files import PRIVATE_DIR
from pipelines.errors import ConfigError

log = get_logger("cluster.local.ray_folder")

# Ray makes its folder world-writable (mode 0777), so it gets one inside ours, which is private.
SESSIONS = "s"

# Folders that one start removes. Each is held open meanwhile; a process may have 1,024 files.
MAX_STALE = 200
# A start tries for 5 s, in case a process just looks whether the folder is in use.
LOCK_TRIES = 100
LOCK_PAUSE_S = 0.05
# Ray's last processes may still write while their folder is removed.
REMOVE_TRIES = 5
REMOVE_PAUSE_S = 0.2
# Bytes of logs to keep of a session. Chosen: far above what short sessions write, while Ray rotates
# each of its logs only at 512 MB, which nobody wants copied at a shutdown.
MAX_KEPT_LOGS = 50_000_000


def folder_path(name: str) -> Path:
    """The folder of this user with that name."""
    return Path(tempfile.gettempdir()) / f"{_prefix()}{name}"


class RayFolder:
    """One folder for Ray's sessions, from `open` to `close`.

    Args:
        path: from `folder_path`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: int | None = None

    @property
    def sessions(self) -> Path:
        """What Ray gets as its temporary folder."""
        return self.path / SESSIONS

    def open(self) -> None:
        """Make the folder if there is none, and lock it. Idempotent; the lock ends at `close`, or
        with this process.

        Raises:
            ConfigError: it belongs to another user, or another process uses it.
            OSError: it cannot be made.
        """
        for _ in range(LOCK_TRIES):
            if self._held is None:
                self._held = self._taken()
            if self._held is not None:
                return
            time.sleep(LOCK_PAUSE_S)
        raise ConfigError(
            f"{self.path} is in use by another process.",
            hint="Stop it, or set ATALAIA_DATA_DIR to another folder.",
        )

    def _taken(self) -> int | None:
        self.path.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        if _is_ours(self.path) is False:
            raise ConfigError(
                f"{self.path} belongs to another user.",
                hint="Remove it, or set TMPDIR to another folder.",
            )
        held = _lock(self.path)
        if held is not None:
            os.fchmod(held, PRIVATE_DIR)
        return held

    def close(self, keep_logs: Path | None = None) -> None:
        """Remove the folder, if it is open. Call it when Ray has ended. Idempotent.

        Args:
            keep_logs: folder for the logs of the last session; what it held is replaced.
        """
        if self._held is None:
            return
        if keep_logs is not None:
            try:
                _keep_logs(self.sessions / "session_latest" / "logs", keep_logs)
            except OSError as error:
                log.warning("logs of Ray were not kept", folder=str(keep_logs), reason=str(error))
        if not _removed(self.path):
            log.warning("a folder of Ray could not be removed", folder=str(self.path))
        os.close(self._held)
        self._held = None


def new_folder() -> RayFolder:
    """An open folder with a name of its own; stale ones are removed. Raises OSError."""
    remove_stale()
    folder = RayFolder(folder_path(secrets.token_hex(4)))
    folder.open()
    return folder


@contextmanager
def temporary_folder() -> Iterator[str]:
    """For a Ray that ends with the block: what Ray gets as its temporary folder. Raises OSError."""
    folder = new_folder()
    try:
        yield str(folder.sessions)
    finally:
        folder.close()


def remove_stale() -> list[Path]:
    """Remove this user's folders that nobody uses any more; returns them. Blocks for moments."""
    removed: list[Path] = []
    with ExitStack() as held:
        unlocked: list[Path] = []
        for path in sorted(Path(tempfile.gettempdir()).glob(f"{_prefix()}*"))[:MAX_STALE]:
            lock = _lock(path) if _is_ours(path) else None
            if lock is not None:
                held.callback(os.close, lock)
                unlocked.append(path)
        if unlocked:
            lines = _command_lines()
            stale = [path for path in unlocked if not any(path.name in line for line in lines)]
            removed = [path for path in stale if _removed(path)]
    if removed:
        log.info("removed folders that killed processes had left", count=len(removed))
    return removed


def _prefix() -> str:
    return f"atalaia-ray-{os.getuid()}-"


def _is_ours(path: Path) -> bool | None:
    """Whether it is a folder, no link to one, and this user's; None where it is gone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock of the folder at `path`; None where another one has it, or
    the folder is gone."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever removes a folder holds its lock until it is gone: there may be another one now.
        if os.path.samestat(os.fstat(held), path.lstat()):
            return held
    os.close(held)
    return None


def _command_lines() -> list[str]:
    """Of all processes, as far as this user may read them: of its own it may."""
    found = psutil.process_iter(["cmdline"])
    return [" ".join(process.info["cmdline"] or ()) for process in found]


def _removed(path: Path) -> bool:
    for attempt in range(REMOVE_TRIES):
        if attempt:
            time.sleep(REMOVE_PAUSE_S)
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return True
    return False


def _keep_logs(logs: Path, kept: Path) -> None:
    """Copy the newest files of `logs` to `kept`, in place of what was there."""
    forget_logs(kept)
    if not logs.is_dir():
        return
    files = [path for path in logs.rglob("*") if path.is_file() and not path.is_symlink()]
    room = MAX_KEPT_LOGS
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        room -= path.stat().st_size
        if room < 0:
            break
        copy = kept / path.relative_to(logs)
        copy.parent.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def forget_logs(kept: Path) -> None:
    """Remove what `RayFolder.close` kept, or the link to a session's logs. Raises OSError."""
    if kept.is_symlink():
        kept.unlink()
    elif kept.exists():
        shutil.rmtree(kept)
