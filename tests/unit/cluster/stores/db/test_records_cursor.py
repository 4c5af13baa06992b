from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.stores.db.cursor import decode_cursor, encode_cursor
from pipelines.errors import InputError


@given(st.integers(0, 2**63 - 1), st.uuids())
def test_round_trip(capture_us: int, alarm_id: UUID) -> None:
    assert decode_cursor(encode_cursor(capture_us, alarm_id)) == (capture_us, alarm_id)


@given(st.text(max_size=60))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        place = decode_cursor(text)
    except InputError:
        return
    assert encode_cursor(*place) == text


@pytest.mark.parametrize("cut", range(1, 34))
def test_a_truncated_cursor_is_refused(cut: int) -> None:
    with pytest.raises(InputError):
        decode_cursor(encode_cursor(1, UUID(int=7))[:-cut])


def test_another_version_and_another_spelling_are_refused() -> None:
    cursor = encode_cursor(1, UUID(int=7))
    with pytest.raises(InputError):
        decode_cursor("B" + cursor[1:])
    with pytest.raises(InputError):
        decode_cursor(cursor + "==")
