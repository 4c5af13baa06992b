"""Texts of the audit log hold no piece of a credential, wherever they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.stores.audit.events import MAX_DETAIL, MAX_ID, plain
from tests.unit.cluster.stores.audit.chains import make_event

SECRET = "S3cr3tPassw0rd"
PIECES = (SECRET[:3], SECRET[3:6], SECRET[-4:])
KEY = f"atk_abcdefgh_{SECRET}{'0' * 400}"
CREDENTIALS = (
    f"rtsp://admin:{SECRET}@192.0.2.10/stream",
    f"rtsp%3A%2F%2Fuser%3A{SECRET}%40host",
    f"s3://key:{SECRET}/b",
    f"eyJhbGciOi.{SECRET}.{SECRET}",
    f"atk_abcdefgh_{SECRET}",
)


def shows_nothing(text: object) -> bool:
    return isinstance(text, str) and not any(piece in text for piece in PIECES)


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("hidden_before", ["", f"{KEY} "])
def test_a_credential_at_the_cut_is_hidden(credential: str, hidden_before: str) -> None:
    """A key before it becomes so short when hidden that the cut end is within what is kept."""
    limit = 250
    for before in range(2 * limit - len(hidden_before) - len(credential), 2 * limit):
        text = hidden_before + "-" * max(0, before - len(hidden_before)) + f" {credential} and more"
        assert shows_nothing(plain(text, limit)), before


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([KEY, *CREDENTIALS, " ", "\n", "\0", "a", "word ", "x" * 90]), max_size=12
    ).map("".join),
    st.integers(1, 300),
)
def test_what_is_kept_is_short_and_printable(text: str, limit: int) -> None:
    kept = plain(text, limit)
    assert isinstance(kept, str)
    assert len(kept) <= limit
    assert kept.isprintable()


def test_all_texts_of_callers_in_an_event_are_treated_alike() -> None:
    text = f"{KEY} {'-' * 30} rtsp://admin:{SECRET}@h"
    for cut in range(len(text) - len(SECRET) - 2, len(text)):
        longer = text[:cut] + "y" * 600
        event = make_event(object_id=longer, reason=longer, details={"a": longer, "b": [longer]})
        shown = event.model_dump_json()
        assert not any(piece in shown for piece in PIECES[:1])
        assert len(event.object_id) <= MAX_ID
        assert len(str(event.details["a"])) <= MAX_DETAIL
