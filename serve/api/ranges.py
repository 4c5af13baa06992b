"""HTTP ranges (RFC 9110, 14) of one blob: which bytes a request wants."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bytes `start` to `end` (exclusive); `partial`: as a range, not as the whole."""

    start: int
    end: int
    partial: bool


def wanted_bytes(header: str | None, size: int) -> Wanted | None:
    """What a `Range` header asks for; None where it asks for nothing that is there (416).

    What is no single range of bytes is ignored, as the RFC allows: several ranges, other units,
    and what nobody can read.
    """
    whole = Wanted(0, size, partial=False)
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[1] == found[2] == "":
        return whole
    if found[1] == "":
        length = min(int(found[2]), size)
        return Wanted(size - length, size, partial=True) if length else None
    start = int(found[1])
    if found[2] != "" and int(found[2]) < start:
        return whole
    if start >= size:
        return None
    end = min(int(found[2]) + 1, size) if found[2] != "" else size
    return Wanted(start, end, partial=True)


def same_version(header: str, etag: str, *, weak: bool) -> bool:
    """Whether an `If-Range` (strong) or `If-None-Match` (`weak`) header names this version."""
    if weak and header.strip() == "*":
        return True
    tags = [tag.strip() for tag in header.split(",")] if weak else [header.strip()]
    return any(etag == (tag.removeprefix("W/") if weak else tag) for tag in tags)
