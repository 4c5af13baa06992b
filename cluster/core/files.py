"""File helpers that the standard library lacks."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError


def digest(path: Path) -> tuple[int, str]:
    """Size in bytes, and hexadecimal SHA-256, of a file. Blocking. Raises OSError."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def sync(path: Path) -> None:
    """Fsync a file, or a folder with new or renamed entries, so that it survives a power loss.
    Blocking. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file written by another of our processes; None if there is none.

    Raises:
        ConfigError: the file cannot be read, or is not JSON.
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
