"""Files of the local stack: private files, and logs that are bounded and free of secrets."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from pathlib import Path

from cluster.core.files import sync
from cluster.core.log import redact

PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700

# livekit-server writes about 1 MB a day per camera at level info, so this is some days of history.
LOG_MAX_BYTES = 10_000_000
LOG_BACKUPS = 2
LOG_TAIL_LINES = 40
# Bounds the buffer for an unterminated line; none of the servers writes lines this long.
LOG_MAX_LINE = 64_000


def ensure_private_dir(path: Path) -> Path:
    """Create `path` if necessary, accessible by its owner only, and return it. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(PRIVATE_DIR)
    return path


def write_private(path: Path, text: str) -> None:
    """Atomically replace the content of `path`; only its owner can read it. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def create_private(path: Path, text: str) -> None:
    """Create `path` with this content, on the disk, for its owner only; a file that exists stays
    as it is, whoever came first. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    sync(path.parent)


class LogFile:
    """The log of one server: redacted line by line, rotated by size, with its tail in memory.

    Args:
        path: file to append to; older content moves to `path.1`, `path.2`, …
    """

    def __init__(
        self, path: Path, *, max_bytes: int = LOG_MAX_BYTES, backups: int = LOG_BACKUPS
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        if self._file.tell() >= max_bytes:
            self._rotate()

    def feed(self, data: bytes) -> None:
        """Take in raw output. Writes complete lines and buffers the last, incomplete one."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LOG_MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._write(line)

    def tail(self, lines: int = LOG_TAIL_LINES) -> list[str]:
        """The last lines, oldest first."""
        return list(self._tail)[-lines:]

    def close(self) -> None:
        """Write the incomplete line, if any, and close. Idempotent."""
        if self._file.closed:
            return
        if self._rest:
            self._write(self._rest)
            self._rest = b""
        self._file.close()

    def _write(self, line: bytes) -> None:
        text = redact(line.decode("utf-8", errors="replace").rstrip("\r"))
        self._tail.append(text)
        self._file.write(text.encode() + b"\n")
        if self._file.tell() >= self._max_bytes:
            self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        for index in range(self._backups, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{index}")
            newer = (
                self.path if index == 1 else self.path.with_name(f"{self.path.name}.{index - 1}")
            )
            if newer.exists():
                os.replace(newer, older)
        self._file = self.path.open("wb", buffering=0)
