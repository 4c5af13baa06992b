"""The search for planted secrets finds them however they are written; a search that finds nothing
would prove nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from tests.planted import (
    HEAD,
    Search,
    command_lines,
    planted,
    secret_bodies,
    secret_settings,
    spellings,
)

SECRET = planted("camera", 'é/+="\\ tail')
SEARCH = Search({"it": SECRET})


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        quote(quote(SECRET, safe=""), safe=""),
        json.dumps({"a": SECRET}),
        json.dumps({"a": SECRET}, ensure_ascii=False),
        json.dumps({"a": json.dumps(SECRET)}),
        repr(SecretStr(SECRET).get_secret_value()),
        f"rtsp://viewer:{SECRET[:HEAD]}…",
    ],
)
def test_every_spelling_is_found(written: str) -> None:
    assert SEARCH.found_in(f"before {written} behind".encode()) == {"it"}
    assert SEARCH.found_in(written.replace("pq", "").encode()) == set()


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_base64_is_found_wherever_the_secret_stands_in_it(before: bytes, behind: bytes) -> None:
    whole = before + SECRET.encode() + behind
    for encoded in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
        assert SEARCH.found_in(b"Basic " + encoded) == {"it"}


def test_files_are_read_to_the_last(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "here.bin").write_bytes(b"\0" * 100_000 + SECRET.encode())
    (tmp_path / "other").write_text("nothing")
    assert SEARCH.found_in_files([tmp_path]) == {tmp_path / "folder" / "here.bin": {"it"}}


def test_secrets_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(AssertionError, match="same way"):
        Search({"one": "a" * 20 + "1", "other": "a" * 20 + "2"})


def test_command_lines_are_seen() -> None:
    assert any(b"pytest" in line for line in command_lines().values())


class _Inner(BaseModel):
    key: SecretStr | None = None
    keys: tuple[SecretStr, ...] = ()
    name: str = ""


class _Settings(BaseModel):
    inner: _Inner = _Inner()
    secret: SecretStr = SecretStr("")


def test_which_settings_are_secrets() -> None:
    found = {"inner.key": False, "inner.keys": True, "secret": False}
    assert secret_settings(_Settings) == found


def test_which_fields_of_bodies_are_secrets() -> None:
    schemas = {name: kind.model_json_schema() for name, kind in (("Inner", _Inner),)}
    schemas["Inner"]["properties"]["many"] = {"items": {"format": "password"}}
    found = secret_bodies({"components": {"schemas": schemas}})
    assert found == {"Inner.key", "Inner.keys", "Inner.many"}


@given(st.text(min_size=HEAD + 4, max_size=60))
def test_a_spelling_of_the_whole_holds_one_of_its_beginning(secret: str) -> None:
    search = Search({"it": secret})
    assert all(search.found_in(written) == {"it"} for written in spellings(secret))
