"""What the standard library leaves out about files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def digest(path: Path) -> tuple[int, str]:
    """Size in bytes, and SHA-256 in hexadecimal. Blocking. Raises OSError."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def sync(path: Path) -> None:
    """Make what was written to a file, by whomever, or the names of new and renamed files in a
    folder survive a power cut. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
