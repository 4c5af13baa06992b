"""Where a page of alarms ended, as opaque text: the sort key of its last row."""

from __future__ import annotations

import base64
import binascii
import struct
from uuid import UUID

from pipelines.errors import InputError

_VERSION = 1
_LAYOUT = struct.Struct(">Bq16s")  # version, capture_us, alarm id


def encode_cursor(capture_us: int, alarm_id: UUID) -> str:
    packed = _LAYOUT.pack(_VERSION, capture_us, alarm_id.bytes)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, UUID]:
    """Capture time and id of the last row of the page before.

    Raises:
        InputError: the text is not a cursor that `encode_cursor` made.
    """
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, capture_us, raw_id = _LAYOUT.unpack(packed)
    except (binascii.Error, struct.error, ValueError) as error:
        raise _broken() from error
    # Base64 has several spellings of the same bytes; only ours is a cursor.
    if version != _VERSION or encode_cursor(capture_us, UUID(bytes=raw_id)) != cursor:
        raise _broken()
    return capture_us, UUID(bytes=raw_id)


def _broken() -> InputError:
    return InputError(
        "the cursor is broken.", hint="Use next_cursor of the page before, unchanged, or none."
    )
