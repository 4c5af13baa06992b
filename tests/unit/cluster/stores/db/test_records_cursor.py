from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.stores.db.cursor import (
    ALARM_CURSOR,
    AUDIT_CURSOR,
    MADE_CURSOR,
    OBJECT_CURSOR,
    RECORDING_CURSOR,
    Cursor,
)
from pipelines.errors import InputError

KINDS = pytest.mark.parametrize(
    "cursor",
    [ALARM_CURSOR, OBJECT_CURSOR, RECORDING_CURSOR, AUDIT_CURSOR, MADE_CURSOR],
    ids=["alarm", "object", "recording", "audit", "made"],
)
TIMES = st.integers(0, 2**63 - 1)
SLUGS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)


@given(TIMES, st.uuids())
def test_round_trip(capture_us: int, alarm_id: UUID) -> None:
    assert ALARM_CURSOR.decode(ALARM_CURSOR.encode((capture_us, alarm_id))) == (
        capture_us,
        alarm_id,
    )


@given(TIMES, SLUGS, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_round_trip_of_objects(first_seen_us: int, camera: str, track: str) -> None:
    place = first_seen_us, camera, track
    assert OBJECT_CURSOR.decode(OBJECT_CURSOR.encode(place)) == place


@given(st.integers(0, 10**18 - 1), SLUGS)
def test_round_trip_of_recordings(start_us: int, camera: str) -> None:
    assert RECORDING_CURSOR.decode(RECORDING_CURSOR.encode((start_us, camera))) == (
        start_us,
        camera,
    )


@given(st.integers(0, 10**18 - 1), st.from_regex(r"[a-z0-9]{8,12}", fullmatch=True))
def test_round_trip_of_keys_and_users(created_us: int, id: str) -> None:
    assert MADE_CURSOR.decode(MADE_CURSOR.encode((created_us, id))) == (created_us, id)


@pytest.mark.parametrize(
    ("cursor", "place", "text"),
    [
        (
            ALARM_CURSOR,
            (1_700_000_000_000_000, UUID(int=7)),
            "AQAGCiQYHkAAAAAAAAAAAAAAAAAAAAAABw",
        ),
        (OBJECT_CURSOR, (1_700_000_000_000_000, "gate", "t-1"), "AgAGCiQYHkAAZ2F0ZS90LTE"),
        (RECORDING_CURSOR, (1_700_000_000_000_000, "gate"), "1700000000000000.gate"),
        (AUDIT_CURSOR, 1_234, "1234"),
        (MADE_CURSOR, (1_700_000_000_000_000, "3kd82hs9"), "1700000000000000.3kd82hs9"),
    ],
    ids=["alarm", "object", "recording", "audit", "made"],
)
def test_the_text_stays_as_clients_hold_it(cursor: Cursor[Any], place: Any, text: str) -> None:
    assert cursor.encode(place) == text
    assert cursor.decode(text) == place


@KINDS
@given(text=st.text(max_size=60))
def test_any_text_is_decoded_or_refused(cursor: Cursor[Any], text: str) -> None:
    try:
        place = cursor.decode(text)
    except InputError:
        return
    assert cursor.encode(place) == text


@pytest.mark.parametrize("cut", range(1, 34))
def test_a_truncated_cursor_is_refused(cut: int) -> None:
    with pytest.raises(InputError):
        ALARM_CURSOR.decode(ALARM_CURSOR.encode((1, UUID(int=7)))[:-cut])


def test_another_version_and_another_spelling_are_refused() -> None:
    cursor = ALARM_CURSOR.encode((1, UUID(int=7)))
    with pytest.raises(InputError):
        ALARM_CURSOR.decode("B" + cursor[1:])
    with pytest.raises(InputError):
        ALARM_CURSOR.decode(cursor + "==")
    with pytest.raises(InputError):
        RECORDING_CURSOR.decode("007.gate")


@KINDS
def test_a_cursor_of_another_list_is_refused(cursor: Cursor[Any]) -> None:
    others = {
        ALARM_CURSOR: ALARM_CURSOR.encode((1, UUID(int=7))),
        OBJECT_CURSOR: OBJECT_CURSOR.encode((1, "gate", "t-1")),
        RECORDING_CURSOR: RECORDING_CURSOR.encode((1, "gate")),
    }
    for kind, text in others.items():
        if kind is not cursor:
            with pytest.raises(InputError):
                cursor.decode(text)


def test_a_page_ends_with_its_cursor_where_more_follows() -> None:
    rows = [(1, "a"), (1, "b"), (2, "a")]
    assert RECORDING_CURSOR.page(rows, 2, lambda row: row) == (rows[:2], "1.b")
    assert RECORDING_CURSOR.page(rows, 3, lambda row: row) == (rows, None)
    assert RECORDING_CURSOR.page([], 3, lambda row: row) == ([], None)
