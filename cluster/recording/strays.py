"""Recording files without a row: the process died between storing the file and adding the row, the
row was lost, or another file replaced it."""

from __future__ import annotations

import re
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NamedTuple

from cluster.stores.blobs.tenant import ListedBlob, TenantBlobs
from pipelines.times import moment_of, to_us

# `recording.segment_s` is at most ten minutes, and a file ends at the next key frame.
MAX_FILE_US = 1_200_000_000
_RECORDING = re.compile(
    r"recordings/(?P<camera>[a-z0-9-]{1,40})/\d{4}/\d\d/\d\d/(?P<start_us>\d{1,18})"
    r"(?P<painted>\.[0-9a-f]{16})?\.mp4",
    re.ASCII,
)
# Years have four digits.
_LAST_US = to_us(datetime(9999, 12, 31, tzinfo=UTC))
# Starts in one statement.
_AT_ONCE = 200

Named = Callable[[str, Collection[int]], Awaitable[set[str]]]
"""The files that the rows of a camera's recordings with these starts name."""


class Stray(NamedTuple):
    """A file of a recording without a row."""

    camera: str
    start_us: int
    blob: ListedBlob

    @property
    def end_us(self) -> int:
        """It ends before."""
        return self.start_us + MAX_FILE_US


def painted_key(key: str, sha256: str) -> str:
    """Key of what takes the place of a recording, beside it. It is made of its content, so that
    two who do the same store the same."""
    return f"{key.removesuffix('.mp4').partition('.')[0]}.{sha256[:16]}.mp4"


def start_of(key: str) -> int | None:
    """The start in the key of a recording, UTC microseconds; None: it is no such key."""
    found = _RECORDING.fullmatch(key)
    return None if found is None else int(found["start_us"])


async def day_folders(
    blobs: TenantBlobs, camera: str, *, from_us: int = 0, to_us: int = _LAST_US
) -> list[str]:
    """The folders with a camera's recordings that begin from `from_us` to `to_us`, in order of
    time. Raises UnavailableError."""
    first, last = _day(from_us), _day(to_us)
    folders = [f"recordings/{camera}"]
    for length in (4, 7, 10):  # years, months, days
        folders = [f"{folder}/{name}" for folder in folders for name in await blobs.folders(folder)]
        folders = [f for f in folders if first[:length] <= f[-length:] <= last[:length]]
    return folders


def _day(at_us: int) -> str:
    return f"{moment_of(min(max(0, at_us), _LAST_US)):%Y/%m/%d}"


async def without_row(found: Collection[ListedBlob], named: Named) -> list[Stray]:
    """Those files that are recordings, and that no row names. Raises as `named`."""
    strays = [
        Stray(match["camera"], int(match["start_us"]), blob)
        for blob in found
        if (match := _RECORDING.fullmatch(blob.key)) is not None
    ]
    known = set[str]()
    for camera in {stray.camera for stray in strays}:
        starts = sorted({stray.start_us for stray in strays if stray.camera == camera})
        for n in range(0, len(starts), _AT_ONCE):
            known |= await named(camera, starts[n : n + _AT_ONCE])
    return [stray for stray in strays if stray.blob.key not in known]


async def strays_of(
    blobs: TenantBlobs, camera: str, named: Named, *, from_us: int = 0, to_us: int = _LAST_US
) -> AsyncIterator[list[Stray]]:
    """A camera's files without a row that may hold any of `from_us` to `to_us`, both included.
    Raises UnavailableError."""
    first_us = from_us - MAX_FILE_US
    for folder in await day_folders(blobs, camera, from_us=first_us, to_us=to_us):
        async with aclosing(blobs.pages(folder, string.digits)) as pages:
            async for page in pages:
                inside = [
                    blob
                    for blob in page
                    if (start_us := start_of(blob.key)) is not None
                    and first_us <= start_us <= to_us
                ]
                yield await without_row(inside, named)
