"""AMF0, the encoding of RTMP commands ("Action Message Format -- AMF 0", Adobe 2007).

Pure, and only the subset that a relay needs: it skips and replaces values without interpreting
them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

NUMBER, BOOLEAN, STRING, OBJECT, NULL, UNDEFINED = 0, 1, 2, 3, 5, 6
ECMA_ARRAY, OBJECT_END, STRICT_ARRAY, DATE, LONG_STRING = 8, 9, 10, 11, 12

MAX_DEPTH = 8
"""RTMP commands nest at most two objects, and camera metadata does not nest deeper."""


class AmfError(Exception):
    """The bytes are not valid AMF0, or nest too deeply."""


def end_of(data: bytes, start: int, depth: int = 0) -> int:
    """The end offset of the value that starts at `start`.

    Raises:
        AmfError: the value is truncated, of an unknown type, or nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise AmfError("nested too deeply")
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
            raise AmfError(f"unsupported value type {kind}")
        at += fixed[kind]
    if at > len(data):
        raise AmfError("truncated value")
    return at


def values(data: bytes) -> list[tuple[int, int]]:
    """Start and end offsets of each value in a command.

    Raises:
        AmfError: a value is malformed.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        end = end_of(data, at)
        found.append((at, end))
        at = end
    return found


def text(data: bytes, start: int) -> str:
    """The string that starts at `start`; empty if the value is not a string.

    Raises:
        AmfError: the value is truncated.
    """
    if _byte(data, start) != STRING:
        return ""
    size = _size(data, start + 1, 2)
    return data[start + 3 : start + 3 + size].decode("utf-8", "surrogateescape")


def fields(data: bytes, start: int) -> dict[str, str]:
    """The string fields of the object that starts at `start`; empty if it is not an object.

    Raises:
        AmfError: the object is malformed.
    """
    if _byte(data, start) != OBJECT:
        return {}
    pairs, _ = _pairs(data, start + 1, 0)
    return {key: text(data, at) for key, at, _ in pairs if _byte(data, at) == STRING}


def with_fields(data: bytes, start: int, changes: Mapping[str, str]) -> bytes:
    """`data` with the given string fields of the object at `start` replaced.

    Raises:
        AmfError: the object is malformed, or a new string is too long.
    """
    pairs, _ = _pairs(data, start + 1, 0)
    for key, at, end in reversed(pairs):
        if key in changes:
            data = data[:at] + string(changes[key]) + data[end:]
    return data


def string(content: str) -> bytes:
    """Encode a string value.

    Raises:
        AmfError: the string exceeds 65,535 bytes, the limit of its 16-bit length.
    """
    raw = content.encode("utf-8", "surrogateescape")
    if len(raw) > 0xFFFF:
        raise AmfError("string too long")
    return struct.pack(">BH", STRING, len(raw)) + raw


def _pairs(data: bytes, at: int, depth: int) -> tuple[list[tuple[str, int, int]], int]:
    """Key, start and end of each field in an object's body, and the object's end offset."""
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
        raise AmfError("truncated value")
    return data[at]


def _size(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise AmfError("truncated value")
    return int.from_bytes(data[at : at + width], "big")
