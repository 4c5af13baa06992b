from __future__ import annotations

import pytest
from argon2 import extract_parameters

from cluster.core.passwords import (
    _NOBODY,
    check_password,
    hash_password,
    is_outdated,
    verify_password,
)
from pipelines.errors import InputError


def test_a_hash_is_salted_and_slow_to_make() -> None:
    first, second = hash_password("correct horse"), hash_password("correct horse")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert verify_password(first, "correct horse")
    assert not verify_password(first, "Correct horse")
    assert not is_outdated(first)


def test_an_account_that_does_not_exist_costs_the_same() -> None:
    kept = hash_password("correct horse")
    assert extract_parameters(_NOBODY) == extract_parameters(kept)
    assert not verify_password(None, "correct horse")


def test_a_letter_is_the_same_however_it_is_typed() -> None:
    assert verify_password(
        hash_password("cora\u00e7\u00e3o valente"), "corac\u0327a\u0303o valente"
    )


def test_older_parameters_are_noticed() -> None:
    assert is_outdated("$argon2id$v=19$m=4096,t=1,p=1$" + "A" * 22 + "$" + "A" * 43)


@pytest.mark.parametrize("password", ["", "short", "x" * 11, "a" * 20, "abab" * 5, "x" * 257])
def test_what_is_no_password(password: str) -> None:
    with pytest.raises(InputError):
        check_password(password)


def test_what_is_one() -> None:
    check_password("correct horse")
