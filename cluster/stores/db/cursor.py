"""Where a page ended, as opaque text: the sort key of its last row.

There is one kind of cursor for each list that is paged. They differ in how a sort key is spelt;
what counts as a cursor, and the error for a broken one, are the same for all.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from pipelines.errors import InputError

Place = TypeVar("Place")
"""The sort key of a row."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Cursor(Generic[Place]):
    """One kind of cursor.

    Attributes:
        spell: the text of a place.
        read: the place that a text names; raises ValueError where it names none.
    """

    spell: Callable[[Place], str]
    read: Callable[[str], Place]

    def encode(self, place: Place) -> str:
        return self.spell(place)

    def decode(self, cursor: str) -> Place:
        """The sort key of the last row of the page before.

        Raises:
            InputError: the text is not a cursor that `encode` made.
        """
        try:
            place = self.read(cursor)
        except ValueError as error:
            raise _broken() from error
        # Base64 and numbers have several spellings of the same value; only ours is a cursor.
        if self.spell(place) != cursor:
            raise _broken()
        return place

    def page(
        self, rows: list[Row], limit: int, place_of: Callable[[Row], Place]
    ) -> tuple[list[Row], str | None]:
        """The page of at most `limit` rows, and the cursor of the next one or None.

        Args:
            rows: one more than the page where there are as many, so that the last page is known
                as such.
            place_of: the sort key of a row.
        """
        more = len(rows) > limit
        return rows[:limit], self.encode(place_of(rows[limit - 1])) if more else None


def _broken() -> InputError:
    return InputError(
        "the cursor is broken.", hint="Use next_cursor of the page before, unchanged, or none."
    )


# ------------------------------------------------------------ the kinds


_ALARM_VERSION = 1
_ALARM_LAYOUT = struct.Struct(">Bq16s")  # version, capture_us, alarm id
_OBJECT_VERSION = 2
_OBJECT_LAYOUT = struct.Struct(">Bq")  # version, first_seen_us; then camera/track
_AUDIT = re.compile(r"\d{1,18}", re.ASCII)
_MADE = re.compile(r"(\d{1,18})\.([a-z0-9]{8,12})", re.ASCII)
_RECORDING = re.compile(r"(\d{1,18})\.([a-z0-9-]{1,40})", re.ASCII)


def _base64(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _unpacked(layout: struct.Struct, version: int, cursor: str) -> tuple[list[Any], bytes]:
    """The fields behind the version, and the bytes behind them. Raises ValueError."""
    packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    if len(packed) < layout.size:
        raise ValueError("too short")
    found, *fields = layout.unpack_from(packed)
    if found != version:
        raise ValueError("another version")
    return fields, packed[layout.size :]


def _spell_alarm(place: tuple[int, UUID]) -> str:
    capture_us, alarm = place
    return _base64(_ALARM_LAYOUT.pack(_ALARM_VERSION, capture_us, alarm.bytes))


def _read_alarm(cursor: str) -> tuple[int, UUID]:
    (capture_us, raw_id), _ = _unpacked(_ALARM_LAYOUT, _ALARM_VERSION, cursor)
    return capture_us, UUID(bytes=raw_id)


def _spell_object(place: tuple[int, str, str]) -> str:
    first_seen_us, camera, track = place
    packed = _OBJECT_LAYOUT.pack(_OBJECT_VERSION, first_seen_us)
    return _base64(packed + f"{camera}/{track}".encode())


def _read_object(cursor: str) -> tuple[int, str, str]:
    (first_seen_us,), names = _unpacked(_OBJECT_LAYOUT, _OBJECT_VERSION, cursor)
    # Slugs hold no slash, so the first one parts them.
    camera, slash, track = names.decode().partition("/")
    # PostgreSQL takes no NUL in a text.
    if not slash or "\0" in names.decode():
        raise ValueError("no camera and track")
    return first_seen_us, camera, track


def _spell_recording(place: tuple[int, str]) -> str:
    start_us, camera = place
    return f"{start_us}.{camera}"


def _read_recording(cursor: str) -> tuple[int, str]:
    found = _RECORDING.fullmatch(cursor)
    if found is None:
        raise ValueError("no time and camera")
    return int(found[1]), found[2]


def _read_audit(cursor: str) -> int:
    if _AUDIT.fullmatch(cursor) is None:
        raise ValueError("no number")
    return int(cursor)


def _spell_made(place: tuple[int, str]) -> str:
    created_us, id = place
    return f"{created_us}.{id}"


def _read_made(cursor: str) -> tuple[int, str]:
    found = _MADE.fullmatch(cursor)
    if found is None:
        raise ValueError("no time and id")
    return int(found[1]), found[2]


ALARM_CURSOR = Cursor(_spell_alarm, _read_alarm)
"""Capture time and id."""
OBJECT_CURSOR = Cursor(_spell_object, _read_object)
"""First sight, camera and track."""
RECORDING_CURSOR = Cursor(_spell_recording, _read_recording)
"""Start and camera."""
AUDIT_CURSOR: Cursor[int] = Cursor(str, _read_audit)
"""Sequence number."""
MADE_CURSOR = Cursor(_spell_made, _read_made)
"""Of keys and users: when it was made, and its id."""
