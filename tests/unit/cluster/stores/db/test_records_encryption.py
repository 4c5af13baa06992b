"""The secrets of the records: what decrypts, what must not, and what errors may say."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.core.settings import DatabaseSettings, Settings
from cluster.stores.db.encryption import RecordCipher, SecretPlace, StoredAs
from pipelines.errors import ConfigError, SecretUnreadableError
from tests.unit.pipelines.properties import PROPERTY

OLD = SecretStr("the-key-of-last-year-0123456789-abcdef")
NEW = SecretStr("the-key-of-this-year-0123456789-abcdef")
CIPHER = RecordCipher(NEW)
PLACE = SecretPlace("acme", "cameras", "gate", "url")
PASSWORD = "hunter2-never-shown"
URL = SecretStr(f"rtsp://viewer:{PASSWORD}@192.0.2.10:554/stream1")

SLUGS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)
PLACES = st.builds(SecretPlace, SLUGS, st.just("cameras"), SLUGS, st.sampled_from(["url", "sub"]))


def encrypted(text: str = URL.get_secret_value(), place: SecretPlace = PLACE) -> str:
    return CIPHER.encrypt(SecretStr(text), place).get_secret_value()


def refused(stored: str, place: SecretPlace = PLACE, cipher: RecordCipher = CIPHER) -> str:
    """The message of the error, which shows neither secret nor what is stored."""
    with pytest.raises(SecretUnreadableError) as caught:
        cipher.decrypt(SecretStr(stored), place)
    said = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert caught.value.hint
    assert PASSWORD not in said
    assert all(part not in said for part in stored.split(".") if len(part) > 8)
    assert all(key.get_secret_value() not in said for key in (OLD, NEW))
    return caught.value.message


@PROPERTY
@given(st.text(st.characters(exclude_categories=["Cs"])), PLACES)
def test_round_trip(text: str, place: SecretPlace) -> None:
    stored = CIPHER.encrypt(SecretStr(text), place)
    assert CIPHER.decrypt(stored, place).get_secret_value() == text
    assert CIPHER.stored_as(stored) is StoredAs.CURRENT
    # Old text is told apart by this.
    assert "://" not in stored.get_secret_value()
    assert stored.get_secret_value().isascii()


def test_the_same_secret_is_stored_differently_each_time() -> None:
    assert len({encrypted() for _ in range(50)}) == 50
    assert all(PASSWORD not in encrypted() for _ in range(50))


@PROPERTY
@given(PLACES, PLACES)
def test_it_decrypts_nowhere_else(place: SecretPlace, other: SecretPlace) -> None:
    assume(place != other)
    stored = encrypted(place=place)
    assert "belongs elsewhere" in refused(stored, other)


@pytest.mark.parametrize("field", ["tenant", "table", "row", "column"])
def test_each_part_of_the_place_counts(field: str) -> None:
    changes: Any = {field: "other"}
    refused(encrypted(), replace(PLACE, **changes))


def test_parts_of_a_place_do_not_run_into_each_other() -> None:
    stored = encrypted(place=SecretPlace("acme", "cameras", "gate", "url"))
    refused(stored, SecretPlace("acm", "ecameras", "gate", "url"))
    refused(stored, SecretPlace('acme","cameras', "gate", "url", ""))


@PROPERTY
@given(st.integers(0, 2**32), st.integers(0, 6))
def test_a_flipped_bit_is_noticed(where: int, bit: int) -> None:
    text = bytearray(encrypted().encode())
    text[where % len(text)] ^= 1 << bit
    refused(text.decode("ascii"))


@PROPERTY
@given(st.integers(0, 2**32))
def test_cut_or_extended_text_is_noticed(where: int) -> None:
    text = encrypted()
    refused(text[: where % len(text)])
    refused(text + text[where % len(text)])


def test_a_data_key_is_good_for_its_own_secret_only() -> None:
    def body(stored: str) -> bytes:
        raw = stored.split(".")[2]
        return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))

    first, second = encrypted(), encrypted()
    mixed = base64.urlsafe_b64encode(body(first)[:60] + body(second)[60:]).decode().rstrip("=")
    refused(".".join([*first.split(".")[:2], mixed]))


def test_another_key_is_named_and_needed() -> None:
    stored = RecordCipher(OLD).encrypt(URL, PLACE)
    kid = RecordCipher(OLD).kid
    assert kid is not None
    assert kid in refused(stored.get_secret_value())
    both = RecordCipher(NEW, [OLD])
    assert both.decrypt(stored, PLACE) == URL
    assert both.stored_as(stored) is StoredAs.OTHER
    assert both.kid == CIPHER.kid != kid
    assert CIPHER.decrypt(both.encrypt(URL, PLACE), PLACE) == URL


def test_a_key_by_the_same_name_that_is_another_does_not_open_it() -> None:
    """As if two keys had the same eight digits: the tag decides."""
    old = RecordCipher(OLD)
    stored = old.encrypt(URL, PLACE).get_secret_value().replace(str(old.kid), str(CIPHER.kid))
    assert "does not decrypt" in refused(stored)


def test_what_versions_before_stored_is_read_as_it_is() -> None:
    assert CIPHER.decrypt(URL, PLACE) == URL
    assert CIPHER.stored_as(URL) is StoredAs.PLAIN
    assert RecordCipher().decrypt(URL, PLACE) == URL


def test_what_a_newer_version_stored_says_so() -> None:
    assert "newer version" in refused(encrypted().replace("enc1.", "enc2."))


def test_without_a_key_nothing_is_written_and_what_is_encrypted_is_unreadable() -> None:
    keyless = RecordCipher()
    with pytest.raises(ConfigError, match="no key"):
        keyless.encrypt(URL, PLACE)
    assert "missing" in refused(encrypted(), cipher=keyless)
    assert keyless.stored_as(SecretStr(encrypted())) is StoredAs.OTHER
    assert keyless.kid is None


def test_the_format_is_the_documented_one() -> None:
    """Decrypted by hand: another program can do so with the key and this description."""
    version, kid, body = encrypted().split(".")
    info = b"atalaia: secrets of the records, version 1"
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info)
    key = kdf.derive(NEW.get_secret_value().encode())
    assert (version, kid) == ("enc1", hashlib.sha256(key).hexdigest()[:8])
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    names = ["acme", "cameras", "gate", "url"]

    def bound(purpose: str) -> bytes:
        return json.dumps(["enc1", kid, purpose, *names]).replace(", ", ",").encode()

    data_key = AESGCM(key).decrypt(raw[:12], raw[12:60], bound("data key"))
    assert len(data_key) == 32
    secret = AESGCM(data_key).decrypt(raw[60:72], raw[72:], bound("secret"))
    assert secret.decode() == URL.get_secret_value()


def settings(**database: Any) -> Settings:
    return Settings(database=DatabaseSettings(**database))


def test_the_keys_of_the_settings() -> None:
    cipher = RecordCipher.of(settings(encryption_key=NEW, decryption_keys=(OLD,)))
    assert cipher.kid == CIPHER.kid
    assert cipher.decrypt(RecordCipher(OLD).encrypt(URL, PLACE), PLACE) == URL
    for text in (repr(cipher), repr(settings(encryption_key=NEW))):
        assert NEW.get_secret_value() not in text


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ({}, "database.encryption_key is not set"),
        ({"decryption_keys": (OLD,)}, "database.encryption_key is not set"),
        ({"encryption_key": SecretStr("short-key")}, "encryption_key holds"),
        ({"encryption_key": SecretStr("")}, "encryption_key holds"),
        ({"encryption_key": NEW, "decryption_keys": (SecretStr("short-key"),)}, "decryption_keys"),
    ],
)
def test_no_key_or_a_short_one_is_a_wrong_setting(database: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        RecordCipher.of(settings(**database))
    assert "secrets.token_urlsafe" in caught.value.hint
    assert "short-key" not in str(caught.value)
