"""What the standard library leaves out about files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError


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


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file that another process of ours wrote; None where there is none.

    Raises:
        ConfigError: it cannot be read, or holds no JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}", hint="Remove it and start again."
        ) from None
    return content if isinstance(content, dict) else None
