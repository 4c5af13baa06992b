"""Reads the spools of versions before SQLite, so that an upgrade loses no alarm.

A record was one line: CRC-32 of the payload in 8 hex digits, a space, the payload, a line feed.
"""

from __future__ import annotations

import zlib
from pathlib import Path


def read_lines(path: Path) -> list[bytes | None] | None:
    """The payloads in order, None for a damaged or torn one; None where there is no such file.

    Raises OSError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    *lines, torn = content.split(b"\n")
    return [*map(_payload, lines), *([None] if torn else [])]


def _payload(line: bytes) -> bytes | None:
    checksum, space, payload = line[:8], line[8:9], line[9:]
    if space != b" " or checksum != b"%08x" % zlib.crc32(payload):
        return None
    return payload
