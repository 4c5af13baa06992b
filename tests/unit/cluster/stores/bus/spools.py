"""Spools as a crash leaves them, and as earlier versions wrote them."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

DATABASE, LOG = ".db", ".db-wal"


def old_line(payload: bytes) -> bytes:
    """A record as versions before SQLite wrote it."""
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def crashed(path: Path, copy: Path) -> Path:
    """What is on the disk now, as the next process would find it. `path` stays open."""
    for suffix in (DATABASE, LOG):
        beside(copy, suffix).unlink(missing_ok=True)
        if beside(path, suffix).exists():
            shutil.copyfile(beside(path, suffix), beside(copy, suffix))
    return copy
