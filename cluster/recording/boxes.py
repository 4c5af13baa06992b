"""The outer boxes of a fragmented MP4 file: as much as is needed to mend one that was cut off.

A fragmented file is `ftyp moov (moof mdat)*` (ISO/IEC 14496-12, 8.8). Each pair `moof mdat` can be
played once both are complete, so a file whose writer died is mended by dropping what follows the
last complete pair.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEADER = struct.Struct(">I4s")
LARGE_SIZE = struct.Struct(">Q")
TO_THE_END, LARGE = 0, 1


@dataclass(frozen=True, slots=True)
class Box:
    """One outer box: its four-letter type and where it lies in the file, `end` exclusive."""

    kind: bytes
    start: int
    end: int


def outer_boxes(file: BinaryIO) -> Iterator[Box]:
    """The complete boxes from the start of the file; ends at the first that is cut off or odd."""
    size = file.seek(0, os.SEEK_END)
    start = 0
    while start + HEADER.size <= size:
        file.seek(start)
        length, kind = HEADER.unpack(file.read(HEADER.size))
        least = HEADER.size
        if length == LARGE:
            large = file.read(LARGE_SIZE.size)
            if len(large) < LARGE_SIZE.size:
                return
            (length,) = LARGE_SIZE.unpack(large)
            least += LARGE_SIZE.size
        elif length == TO_THE_END:
            length = size - start
        if length < least or start + length > size:
            return
        yield Box(kind, start, start + length)
        start += length


def playable_length(file: BinaryIO) -> int:
    """Bytes from the start up to the last complete fragment; 0 where there is none."""
    has_header, moof_end, playable = False, -1, 0
    for box in outer_boxes(file):
        if box.kind == b"moov":
            has_header = True
        elif box.kind == b"moof":
            moof_end = box.end
        elif box.kind == b"mdat" and has_header and box.start == moof_end:
            playable = box.end
    return playable


def cut_to_playable(path: Path) -> bool:
    """Drop what follows the last complete fragment; False (and untouched) where nothing plays."""
    with path.open("r+b") as file:
        length = playable_length(file)
        if length == 0:
            return False
        file.truncate(length)
        file.flush()
        os.fsync(file.fileno())
    return True
