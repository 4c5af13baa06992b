"""AMF0, the encoding of RTMP's commands ("Action Message Format -- AMF 0", Adobe 2007).

Pure, and only as much as a relay needs: values are walked over and replaced, not understood.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

NUMBER, BOOLEAN, STRING, OBJECT, NULL, UNDEFINED = 0, 1, 2, 3, 5, 6
ECMA_ARRAY, OBJECT_END, STRICT_ARRAY, DATE, LONG_STRING = 8, 9, 10, 11, 12

MAX_DEPTH = 8
"""Commands of RTMP nest two objects; cameras' metadata no more."""


class AmfError(Exception):
    """The bytes are no AMF0, or nest too deep."""


def end_of(data: bytes, start: int, depth: int = 0) -> int:
    """Where the value that starts at `start` ends. Raises AmfError where it does not."""
    if depth > MAX_DEPTH:
        raise AmfError("too deep")
    kind, at = _byte(data, start), start + 1
    if kind == STRING:
        at += 2 + _size(data, at, 2)
    elif kind == LONG_STRING:
        at += 4 + _size(data, at, 4)
    elif kind == STRICT_ARRAY:
        count = _size(data, at, 4)
        at += 4
        for _ in range(count):
            at = end_of(data, at, depth + 1)
    elif kind in (OBJECT, ECMA_ARRAY):
        at = _pairs(data, at + (4 if kind == ECMA_ARRAY else 0), depth)[1]
    else:
        fixed = {NUMBER: 8, BOOLEAN: 1, NULL: 0, UNDEFINED: 0, DATE: 10}
        if kind not in fixed:
            raise AmfError(f"a value of type {kind}")
        at += fixed[kind]
    if at > len(data):
        raise AmfError("a value without its end")
    return at


def values(data: bytes) -> list[tuple[int, int]]:
    """Where each value of a command starts and ends. Raises AmfError."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        end = end_of(data, at)
        found.append((at, end))
        at = end
    return found


def text(data: bytes, start: int) -> str:
    """The string that starts at `start`; empty where it is none. Raises AmfError."""
    if _byte(data, start) != STRING:
        return ""
    size = _size(data, start + 1, 2)
    return data[start + 3 : start + 3 + size].decode("utf-8", "surrogateescape")


def fields(data: bytes, start: int) -> dict[str, str]:
    """The strings in the object that starts at `start`. Raises AmfError."""
    if _byte(data, start) != OBJECT:
        return {}
    pairs, _ = _pairs(data, start + 1, 0)
    return {key: text(data, at) for key, at, _ in pairs if _byte(data, at) == STRING}


def with_fields(data: bytes, start: int, changes: Mapping[str, str]) -> bytes:
    """`data` with strings of the object that starts at `start` replaced. Raises AmfError."""
    pairs, _ = _pairs(data, start + 1, 0)
    for key, at, end in reversed(pairs):
        if key in changes:
            data = data[:at] + string(changes[key]) + data[end:]
    return data


def string(content: str) -> bytes:
    """A string value. Raises AmfError where it has more than 65,535 bytes."""
    raw = content.encode("utf-8", "surrogateescape")
    if len(raw) > 0xFFFF:
        raise AmfError("a string that is too long")
    return struct.pack(">BH", STRING, len(raw)) + raw


def _pairs(data: bytes, at: int, depth: int) -> tuple[list[tuple[str, int, int]], int]:
    """Key, start and end of each value of an object's inside, and where the object ends."""
    found: list[tuple[str, int, int]] = []
    while True:
        size = _size(data, at, 2)
        key = data[at + 2 : at + 2 + size].decode("utf-8", "surrogateescape")
        at += 2 + size
        if size == 0 and _byte(data, at) == OBJECT_END:
            return found, at + 1
        end = end_of(data, at, depth + 1)
        found.append((key, at, end))
        at = end


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise AmfError("a value without its end")
    return data[at]


def _size(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise AmfError("a value without its end")
    return int.from_bytes(data[at : at + width], "big")
