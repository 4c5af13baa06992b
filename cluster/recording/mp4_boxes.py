"""Top-level boxes of fragmented MP4: enough to repair a truncated file.

A fragmented file is `ftyp moov (moof mdat)*` (ISO/IEC 14496-12, 8.8). Each pair `moof mdat` can be
played once both are complete. So a file whose writer died is repaired by truncating it after the
last complete pair.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Box header: 32-bit length and type; a 64-bit length follows where the first is `LARGE`
# (ISO/IEC 14496-12, 4.2).
HEADER = struct.Struct(">I4s")
LARGE_SIZE = struct.Struct(">Q")
TO_THE_END, LARGE = 0, 1


@dataclass(frozen=True, slots=True)
class Box:
    """A top-level box. `start` and `end` are byte offsets in the file, `end` exclusive."""

    kind: bytes
    start: int
    end: int


def top_level_boxes(file: BinaryIO) -> Iterator[Box]:
    """The complete boxes from the start of the file, up to the first truncated or invalid one."""
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
    """Length of the part that ends with the last complete fragment, bytes; 0 if there is none."""
    has_header, moof_end, playable = False, -1, 0
    for box in top_level_boxes(file):
        if box.kind == b"moov":
            has_header = True
        elif box.kind == b"moof":
            moof_end = box.end
        elif box.kind == b"mdat" and has_header and box.start == moof_end:
            playable = box.end
    return playable


def truncate_to_playable(path: Path) -> bool:
    """Truncate after the last complete fragment. False, and no change, if there is none.

    Raises:
        OSError: the file cannot be read or written.
    """
    with path.open("r+b") as file:
        length = playable_length(file)
        if length == 0:
            return False
        file.truncate(length)
        file.flush()
        os.fsync(file.fileno())
    return True
