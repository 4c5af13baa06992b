from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.roles import Role
from cluster.stores.db import keys
from cluster.stores.db.types import IssuedKey, KeyInfo


def test_a_new_key_has_the_form_and_its_id_can_be_read() -> None:
    key = keys.new_key()
    assert len(key) == len("atk_") + 8 + 1 + 43
    assert keys.key_id(key) == key[4:12]


def test_two_keys_differ() -> None:
    assert len({keys.new_key() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "atk_",
        "atk_abcdefgh_" + "x" * 42,
        "atk_abcdefgh_" + "x" * 44,
        "atk_ABCDEFGH_" + "x" * 43,
        "atk_abcdefg_h" + "x" * 43,
        "atk_abcdefgh_" + "x" * 42 + "é",
        "atk_abcdefgh_" + "x" * 43 + "\n",
        " atk_abcdefgh_" + "x" * 43,
        "atk_abcdefg\u0661_" + "x" * 43,
    ],
)
def test_what_is_no_key(text: str) -> None:
    assert keys.key_id(text) is None


@given(st.text())
def test_any_text_is_a_key_or_none(text: str) -> None:
    assert keys.key_id(text) is None or text.startswith("atk_")


def test_only_the_key_itself_proves_its_digest() -> None:
    key = keys.new_key()
    kept = keys.digest(key)
    assert keys.proves(key, kept)
    assert not keys.proves(key[:-1] + ("A" if key[-1] != "A" else "B"), kept)
    assert key not in kept


def test_an_issued_key_does_not_show_its_secret() -> None:
    info = KeyInfo("abcdefgh", "acme", "till", Role.VIEWER, 1, None, None, None)
    assert "hidden" not in repr(IssuedKey(info, secret="hidden"))
