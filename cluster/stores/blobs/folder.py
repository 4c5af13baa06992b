"""The folder of all tenants' files, where it is one of this machine: is it ours, or is its disk not
mounted? A marker file in it says so."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from cluster.core.files import sync
from cluster.stores.blobs.storage import open_storage
from pipelines.errors import UnavailableError

MARKER = ".atalaia-storage"
"""Hidden, so that it is the name of no tenant."""
_TEXT = """Atalaia keeps recordings and pictures in this folder.

As long as this file is here, Atalaia knows that the disk is mounted. Without it nothing is stored
here or removed, and nothing is removed from the index of recordings. Do not delete it.
"""
AWAY = "the folder of the recordings is empty or not mounted"


class StorageFolder:
    """Every method blocks on the disk.

    Attributes:
        trusted: known to be ours, although it could not be marked: its disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trusted = False

    @classmethod
    def of(cls, url: str) -> StorageFolder | None:
        """The folder that `blobs.url` names; None where that is no local one, or cannot be used:
        `TenantBlobs` says why."""
        try:
            storage = open_storage(url)
        except ValueError:
            return None
        return cls(Path(storage.path)) if storage.local else None

    def is_marked(self) -> bool:
        return (self.path / MARKER).exists()

    def require_marked(self) -> None:
        """Raises OSError: the folder is empty, or its disk is not mounted."""
        if not self.trusted and not self.is_marked():
            raise OSError(errno.ENODEV, AWAY)

    def mark(self) -> None:
        """Write the marker file; one that is there stays. Raises UnavailableError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            marker = self.path / MARKER
            if not marker.exists():
                marker.write_text(_TEXT, encoding="utf-8")
                sync(self.path)
        except OSError as error:
            raise UnavailableError(
                f"the folder of the recordings cannot be marked as ours: {error.strerror}.",
                hint="Check that blobs.url is writable and has free space.",
            ) from error

    def missing(self, tenant: str, keys: Iterable[str]) -> int:
        """How many of a tenant's files are not there."""
        return sum(not os.path.exists(self.path / tenant / key) for key in keys)
