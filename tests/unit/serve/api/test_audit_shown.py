"""Whatever somebody wrote into a row, `/v1/audit` has something to show for it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.api.audit.shown import shown_details, shown_text, shown_time

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(ANYTHING)
def test_anything_can_be_shown(value: Any) -> None:
    text, time, details = shown_text(value, 40), shown_time(value), shown_details(value)
    assert len(text) <= 40
    assert (text + time).isprintable()
    # As Starlette spells answers.
    said = json.dumps(details, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert len(said) < 20_000


@pytest.mark.parametrize(
    "details",
    [{}, {"count": 3, "yes": True, "no": None, "fields": ["a", "ü"], "text": "a person in red"}],
)
def test_our_own_details_are_shown_as_they_are(details: dict[str, Any]) -> None:
    assert shown_details(details) is details


def test_other_details_are_shown_flat_and_redacted() -> None:
    assert shown_details({"a": 1.5, "b": {"c": [1]}, "d": math.nan}) == {
        "a": "1.5",
        "b": "{'c': [1]}",
        "d": "nan",
    }
    for secret in ("rtsp://viewer:hunter2@192.0.2.1/", b"rtsp://viewer:hunter2@192.0.2.1/"):
        shown = shown_details(secret)
        assert list(shown) == ["stored"]
        assert "hunter2" not in str(shown)
        assert "192.0.2.1" in str(shown)


def test_details_that_are_nested_too_deeply_say_so() -> None:
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    assert shown_details({"a": deep}) == {"stored": "(nested too deeply)"}
    while deep:  # piece by piece: to free all of it at once is deep, too
        deep = deep[0]


def test_a_time_is_one_where_it_can_be() -> None:
    assert shown_time(1_700_000_000_000_000) == "2023-11-14T22:13:20.000000Z"
    assert shown_time(2**62) == str(2**62)
    assert shown_time(-(2**62)) == str(-(2**62))
    assert shown_time(b"\xff") == r"b'\xff'"
    assert shown_time("soon") == "soon"
