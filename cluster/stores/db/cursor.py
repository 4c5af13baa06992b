"""Where a page ended, as opaque text: the sort key of its last row."""

from __future__ import annotations

import base64
import binascii
import struct
from uuid import UUID

from pipelines.errors import InputError

_VERSION = 1
_LAYOUT = struct.Struct(">Bq16s")  # version, capture_us, alarm id
_OBJECT_VERSION = 2
_OBJECT_LAYOUT = struct.Struct(">Bq")  # version, first_seen_us; then camera/track


def encode_cursor(capture_us: int, alarm_id: UUID) -> str:
    return _text(_LAYOUT.pack(_VERSION, capture_us, alarm_id.bytes))


def decode_cursor(cursor: str) -> tuple[int, UUID]:
    """Capture time and id of the last row of the page before.

    Raises:
        InputError: the text is not a cursor that `encode_cursor` made.
    """
    try:
        version, capture_us, raw_id = _LAYOUT.unpack(_packed(cursor))
    except (binascii.Error, struct.error, ValueError) as error:
        raise _broken() from error
    # Base64 has several spellings of the same bytes; only ours is a cursor.
    if version != _VERSION or encode_cursor(capture_us, UUID(bytes=raw_id)) != cursor:
        raise _broken()
    return capture_us, UUID(bytes=raw_id)


def encode_object_cursor(first_seen_us: int, camera: str, track: str) -> str:
    return _text(_OBJECT_LAYOUT.pack(_OBJECT_VERSION, first_seen_us) + f"{camera}/{track}".encode())


def decode_object_cursor(cursor: str) -> tuple[int, str, str]:
    """First sight, camera and track of the last row of the page before.

    Raises:
        InputError: the text is not a cursor that `encode_object_cursor` made.
    """
    try:
        packed = _packed(cursor)
        version, first_seen_us = _OBJECT_LAYOUT.unpack_from(packed)
        # Slugs hold no slash, so the first one parts them.
        camera, slash, track = packed[_OBJECT_LAYOUT.size :].decode().partition("/")
    except (binascii.Error, struct.error, ValueError) as error:
        raise _broken() from error
    again = encode_object_cursor(first_seen_us, camera, track)
    # PostgreSQL takes no NUL in a text.
    if version != _OBJECT_VERSION or not slash or again != cursor or "\0" in camera + track:
        raise _broken()
    return first_seen_us, camera, track


def _text(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _packed(cursor: str) -> bytes:
    return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)


def _broken() -> InputError:
    return InputError(
        "the cursor is broken.", hint="Use next_cursor of the page before, unchanged, or none."
    )
