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
# Bytes. Bounds the buffer for an unterminated line; none of the servers writes lines this long.
LOG_MAX_LINE = 64_000


def ensure_private_dir(path: Path) -> Path:
    """Create `path` if necessary, accessible by its owner only, and return it. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(PRIVATE_DIR)
    return path


def write_private(path: Path, text: str) -> None:
    """Atomically replace the content of `path`; only its owner can read it. A power cut leaves the
    old or the new. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
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
        # Of a line whose beginning is written already; None: no such line.
        self._left_out: int | None = None
        self._tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        if self._file.tell() >= max_bytes:
            self._rotate()

    def feed(self, data: bytes) -> None:
        """Take in raw output. Writes complete lines and buffers the last, incomplete one.

        Of a line that is too long for the buffer only the beginning is written: what comes after a
        cut may be the end of a credential, which nothing could know for one.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        if self._left_out is not None:
            ended = bool(lines)
            self._leave_out(lines.pop(0) if ended else rest, ended=ended)
        for line in lines:
            self._write(line)
        self._rest = b"" if self._left_out is not None else rest
        if len(self._rest) > LOG_MAX_LINE:
            self._write(self._rest, cut=True)
            self._rest, self._left_out = b"", 0

    def tail(self, lines: int = LOG_TAIL_LINES) -> list[str]:
        """The last lines, oldest first."""
        return list(self._tail)[-lines:]

    def close(self) -> None:
        """Write the incomplete line, if any, and close. Idempotent."""
        if self._file.closed:
            return
        if self._rest:
            self._write(self._rest, cut=True)
            self._rest = b""
        self._leave_out(b"", ended=True)
        self._file.close()

    def _leave_out(self, part: bytes, *, ended: bool) -> None:
        """Count `part` of a line whose beginning is written; say how much it was at its end."""
        if self._left_out is None:
            return
        self._left_out += len(part)
        if ended:
            if self._left_out:
                self._write(f"[{self._left_out:,} more bytes of this line]".encode())
            self._left_out = None

    def _write(self, line: bytes, *, cut: bool = False) -> None:
        text = redact(line.decode("utf-8", errors="replace").rstrip("\r"), cut=cut)
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
