"""Imports recordings that MediaMTX made by itself.

MediaMTX writes fragmented MP4 under `recordPath`, by default
`recordings/%path/%Y-%m-%d_%H-%M-%S-%f`. The name is the local time of the first frame on MediaMTX's
machine. So the times are as exact as that clock, not frame-accurate like those of our recordings.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path

from cluster.recording.probe import probe, segment_file
from cluster.recording.segment import SegmentFile
from cluster.recording.shipper import segment_of
from cluster.recording.tags import Tags
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from pipelines.domain import CameraKey
from pipelines.errors import InputError
from pipelines.times import to_us

NOTE = "recorded by MediaMTX"
NEAR_US = 900_000_000
"""A file was last written at its end: clocks are set back by half an hour or more. A copy may have
another time, which says nothing."""
_NAME = re.compile(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)-(\d{1,6})\.mp4", re.ASCII)


@dataclass(slots=True)
class Registered:
    """The result of an import. `skipped`: files that were not imported, and why."""

    entered: int = 0
    skipped: dict[Path, str] = field(default_factory=dict)


def recordings_in(folder: Path) -> list[Path]:
    """MediaMTX's recordings in a folder and its subfolders, by name. Blocks.

    Raises:
        InputError: the folder does not exist, or holds no recordings.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    found = sorted(path for path in folder.rglob("*.mp4") if _NAME.fullmatch(path.name))
    if not found:
        raise InputError(
            f"{folder} holds no MediaMTX recordings.",
            hint="Their names look like 2026-11-25_17-30-00-123456.mp4.",
        )
    return found


def start_us(name: str, zone: tzinfo | None, began_us: int | None = None) -> int:
    """The start time in a file name, UTC microseconds.

    Args:
        zone: time zone of the name; None: this machine's.
        began_us: about when the file was begun, UTC microseconds. In the night in which clocks are
            set back an hour occurs twice, and the name does not say which one it is.

    Raises:
        InputError: the name has another format, or no valid time.
    """
    found = _NAME.fullmatch(name)
    try:
        if found is None:
            raise ValueError
        local = datetime.strptime(found[1], "%Y-%m-%d_%H-%M-%S")  # noqa: DTZ007 -- set below
    except ValueError:
        raise InputError(f"{name} contains no valid time.") from None
    first, second = (_utc_us(local.replace(fold=fold), zone) for fold in (0, 1))
    is_second = first < second and began_us is not None and abs(second - began_us) < NEAR_US
    return (second if is_second else first) + int(found[2].ljust(6, "0"))


def _utc_us(local: datetime, zone: tzinfo | None) -> int:
    return to_us(local.replace(tzinfo=zone) if zone is not None else local.astimezone())


async def register(
    key: CameraKey,
    paths: Iterable[Path],
    *,
    database: Database,
    blobs: TenantBlobs,
    zone: tzinfo | None = None,
    on_file: Callable[[Path], None] = lambda _: None,
) -> Registered:
    """Store each file and enter it in the database. Idempotent. Unreadable files are skipped.

    Args:
        on_file: called after each file, for a progress bar.

    Raises:
        NotFoundError: there is no such camera.
        InputError: the camera has privacy masks, and these recordings are unmasked.
        UnavailableError: storage or database is down; files entered so far stay.
    """
    camera = await database.tenant(key.tenant).camera(key.camera)
    if camera.masks:
        raise InputError(
            f"camera {camera.id} has privacy masks, and these recordings are unmasked.",
            hint="Unmasked recordings of it are not stored. Remove the masks to import them.",
        )
    done = Registered()
    for path in paths:
        try:
            file = await asyncio.to_thread(_inspect, path, zone)
        except InputError as error:
            done.skipped[path] = error.message
        else:
            segment = segment_of(key.camera, file)
            await blobs.put_file(segment.blob, path)
            await database.recordings(key.tenant).add(segment)
            done.entered += 1
        on_file(path)
    return done


def _inspect(path: Path, zone: tzinfo | None) -> SegmentFile:
    found = probe(path)
    began_us = path.stat().st_mtime_ns // 1_000 - (found.end_us - found.start_us)
    file = segment_file(path, found, start_us(path.name, zone, began_us) - found.start_us)
    return replace(file, tags=Tags(note=NOTE))  # tags in the file are not trusted
