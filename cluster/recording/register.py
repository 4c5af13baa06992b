"""Recordings that MediaMTX made by itself become recordings of a camera here.

MediaMTX writes fragmented MP4 under `recordPath`, by default
`recordings/%path/%Y-%m-%d_%H-%M-%S-%f`: the name tells when the first picture was there, in the
time zone of MediaMTX's machine. Its clock is what these recordings have: their times are as exact
as it, not exact to the frame as our own are.
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
_NAME = re.compile(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)-(\d{1,6})\.mp4", re.ASCII)


@dataclass(slots=True)
class Registered:
    """What became of the files: how many were entered, and why the others were not."""

    entered: int = 0
    skipped: dict[Path, str] = field(default_factory=dict)


def recordings_in(folder: Path) -> list[Path]:
    """MediaMTX's recordings in a folder and those below it, by name. Blocking.

    Raises:
        InputError: there is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.")
    found = sorted(path for path in folder.rglob("*.mp4") if _NAME.fullmatch(path.name))
    if not found:
        raise InputError(
            f"{folder} holds no recording of MediaMTX.",
            hint="Its files are called like 2026-11-25_17-30-00-123456.mp4.",
        )
    return found


def start_us(name: str, zone: tzinfo | None) -> int:
    """UTC microseconds of a file's name.

    Args:
        zone: of the clock that wrote it; None: this machine's.

    Raises:
        InputError: it is no such name, or no such time.
    """
    found = _NAME.fullmatch(name)
    try:
        if found is None:
            raise ValueError
        local = datetime.strptime(found[1], "%Y-%m-%d_%H-%M-%S")  # noqa: DTZ007 -- set below
    except ValueError:
        raise InputError(f"{name} does not tell a time.") from None
    at = local.replace(tzinfo=zone) if zone is not None else local.astimezone()
    return to_us(at) + int(found[2].ljust(6, "0"))


async def register(
    key: CameraKey,
    paths: Iterable[Path],
    *,
    database: Database,
    blobs: TenantBlobs,
    zone: tzinfo | None = None,
    on_file: Callable[[Path], None] = lambda _: None,
) -> Registered:
    """Store and enter each file. What cannot be read is skipped; again, it changes nothing.

    Args:
        on_file: told of each file that was dealt with, for a progress bar.

    Raises:
        UnknownThingError: there is no such camera.
        InputError: the camera has privacy masks, which these recordings have not.
        UnavailableError: storage or records are away; what was entered stays.
    """
    camera = await database.tenant(key.tenant).camera(key.camera)
    if camera.masks:
        raise InputError(
            f"camera {camera.id} has privacy masks, and its pictures in these files have not.",
            hint="Nothing unmasked of it is kept; remove the masks if that is what you want.",
        )
    done = Registered()
    for path in paths:
        try:
            file = await asyncio.to_thread(_examined, path, zone)
        except InputError as error:
            done.skipped[path] = error.message
        else:
            segment = segment_of(key.camera, file)
            await blobs.put_file(segment.blob, path)
            await database.recordings(key.tenant).add(segment)
            done.entered += 1
        on_file(path)
    return done


def _examined(path: Path, zone: tzinfo | None) -> SegmentFile:
    found = probe(path)
    file = segment_file(path, found, start_us(path.name, zone) - found.start_us)
    return replace(file, tags=Tags(note=NOTE))  # whatever it says of itself was not said by us
