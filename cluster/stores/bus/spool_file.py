"""A queue of byte records in one file that survives a crash at any byte.

A record is one line: CRC-32 of the payload in 8 hex digits, a space, the payload, a line feed.
What was taken out is forgotten on disk only when the file is emptied or compacted, so after a crash
records may come out again: they must be idempotent.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections import deque
from pathlib import Path
from typing import Self

from cluster.core.files import sync
from pipelines.errors import ConfigError, UnavailableError

# Below this the dead part in front is not worth copying the rest for.
COMPACT_FROM_BYTES = 1 << 20


class SpoolFullError(UnavailableError):
    """The spool has reached its bound (or the disk its end); the newest record is refused."""

    code = "spool-full"


def encode_record(payload: bytes) -> bytes:
    if b"\n" in payload:
        raise ValueError("a record must not hold a line feed")
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def decode_record(line: bytes) -> bytes | None:
    """The payload of a line without its line feed, or None where it is damaged."""
    checksum, space, payload = line[:8], line[8:9], line[9:]
    if space != b" " or checksum != b"%08x" % zlib.crc32(payload):
        return None
    return payload


class SpoolFile:
    """Not for several threads at once; one process at a time, by a lock beside the file.

    Args:
        path: the file; its folder is made where it is missing.
        max_bytes: how large the file may grow.

    Attributes:
        damaged: records that could not be read back, since opening.

    Raises:
        ConfigError: the file is in use, or cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.damaged = 0
        self._max_bytes = max_bytes
        self._lock = _Lock(path.with_name(path.name + ".lock"))
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            sync(path.parent)
            self._front = 0
            self._lengths = self._recover()
        except OSError as error:
            self._lock.release()
            raise ConfigError(f"cannot use the spool {path}: {error.strerror}.") from error

    def __len__(self) -> int:
        """How many records wait."""
        return len(self._lengths)

    def append(self, payload: bytes) -> None:
        """Add a record at the end; it is on the disk when this returns.

        Raises:
            SpoolFullError: it would not fit; nothing was added.
        """
        record = encode_record(payload)
        if self._size + len(record) > self._max_bytes and self._front > 0:
            self._compact()
        if self._size + len(record) > self._max_bytes:
            raise SpoolFullError(
                f"the spool {self.path.name} is full ({self._max_bytes} bytes).",
                hint="Is Redis running?",
            )
        try:
            _write_all(self._file, record, self._size)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise SpoolFullError(
                f"the spool {self.path.name} cannot be written: {error.strerror}."
            ) from error
        self._size += len(record)
        self._lengths.append(len(record))

    def peek(self, limit: int) -> list[bytes | None]:
        """The first records in order, at most `limit`; None stands for a damaged one."""
        lengths = [self._lengths[i] for i in range(min(limit, len(self._lengths)))]
        block = os.pread(self._file, sum(lengths), self._front)
        records = []
        for length in lengths:
            records.append(decode_record(block[: length - 1]))
            block = block[length:]
        return records

    def advance(self, count: int) -> None:
        """Take the first `count` records out."""
        for _ in range(count):
            self._front += self._lengths.popleft()
        if not self._lengths:
            os.ftruncate(self._file, 0)
            os.fsync(self._file)
            self._front = self._size = 0
        elif self._front >= max(COMPACT_FROM_BYTES, self._size // 2):
            self._compact()

    def close(self) -> None:
        """Release the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _recover(self) -> deque[int]:
        """Lengths of all records; a last one without its line feed was torn and is cut off."""
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self.damaged += 1
            os.ftruncate(self._file, whole)
            os.fsync(self._file)
        self._size = whole
        return deque(len(line) + 1 for line in content[:whole].split(b"\n")[:-1])

    def _compact(self) -> None:
        """Replace the file by one that starts at the first waiting record."""
        rest = os.pread(self._file, self._size - self._front, self._front)
        fresh_path = self.path.with_name(self.path.name + ".new")
        fresh = os.open(fresh_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(fresh, rest, 0)
            os.fsync(fresh)
            os.replace(fresh_path, self.path)
        except OSError as error:
            os.close(fresh)
            raise SpoolFullError(
                f"the spool {self.path.name} cannot be compacted: {error.strerror}."
            ) from error
        sync(self.path.parent)
        os.close(self._file)
        self._file, self._front, self._size = fresh, 0, len(rest)


class _Lock:
    """An exclusive lock by a file of its own: the spool's file is replaced when it is compacted."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use the spool {path}: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise ConfigError(
                f"the spool of {path} is in use by another publisher.",
                hint="Give each publisher a name of its own.",
            ) from error

    def release(self) -> None:
        os.close(self._file)


def _write_all(file: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written
