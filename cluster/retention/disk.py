"""How full the storage is, where it is a folder of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cluster.core.settings import Settings
from cluster.stores.blobs.folder import StorageFolder
from cluster.stores.blobs.storage import open_storage
from pipelines.errors import UnavailableError
from pipelines.retention import Usage

UsageProbe = Callable[[], Usage]
"""Blocks. Raises UnavailableError."""


def usage_probe(settings: Settings) -> UsageProbe | None:
    """Measures the storage of `blobs.url`; None where that is no local folder.

    Raises:
        ValueError: the URL cannot be used.
    """
    storage = open_storage(settings.blob_url)
    if not storage.local:
        return None
    folder, capacity_mb = Path(storage.path), settings.retention.capacity_mb
    if capacity_mb is None:
        return partial(disk_usage, folder)
    return partial(folder_usage, folder, capacity_mb * 1_000_000)


def of_marked(folder: StorageFolder, probe: UsageProbe) -> UsageProbe:
    """A probe that refuses to measure the disk below a folder whose own disk is not mounted."""

    def measure() -> Usage:
        try:
            folder.require_marked()
        except OSError as error:
            raise UnavailableError(f"{error.strerror}.") from error
        return probe()

    return measure


def disk_usage(folder: Path) -> Usage:
    """Of the disk on which the folder is, or will be; what only root may use counts as used."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        found = shutil.disk_usage(folder)
    except OSError as error:
        raise UnavailableError(f"the disk cannot be measured: {error.strerror}.") from error
    return Usage(used=found.total - found.free, total=found.total)


def folder_usage(folder: Path, capacity: int) -> Usage:
    """Of the files in a folder, against a capacity in bytes."""
    used = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                used += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue  # removed meanwhile
    return Usage(used, capacity)
