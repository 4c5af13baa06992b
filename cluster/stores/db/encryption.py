"""Encryption of the secrets in the records, so that reading the database does not reveal them.

Envelope encryption. Each secret has a data key of its own, which encrypts it (AES-256-GCM); the
data key stands beside it, encrypted with a key that is derived from the settings and never stored
(AES-256-GCM, too). Both are bound to the place of the secret: moved to another row, column or
tenant it does not decrypt. What is stored:

    enc1.<kid>.<base64url of: nonce, data key; nonce, secret>

`kid` names the key of the settings. Every camera URL contains "://" and this does not: so text from
before there was encryption is recognized.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from cluster.core.settings import Settings
from pipelines.errors import ConfigError, SecretUnreadableError

MIN_SECRET_CHARS = 32
"""As for the other secrets of the settings."""
KEY_BITS = 256
# NIST SP 800-38D: 96 bits for the nonce, 128 for the tag. Random nonces are safe for 2^32 messages
# with one key: of a data key there is one, of a key of the settings one per written secret.
_NONCE_BYTES, _TAG_BYTES = 12, 16
_WRAPPED_BYTES = _NONCE_BYTES + KEY_BITS // 8 + _TAG_BYTES

VERSION = "enc1"
_STORED = re.compile(r"enc(?P<version>\d{1,4})\.(?P<kid>[0-9a-f]{8})\.(?P<body>[\w-]+)", re.ASCII)
_MARK_OF_PLAIN = "://"

_MAKE_ONE = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'."


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a secret is stored. It decrypts only there."""

    tenant: str
    table: str
    row: str
    column: str

    def bound(self, kid: str, purpose: str) -> bytes:
        """The associated data: an unambiguous spelling of place, key and purpose."""
        fields = VERSION, kid, purpose, self.tenant, self.table, self.row, self.column
        return json.dumps(fields, separators=(",", ":")).encode("ascii")


class StoredAs(StrEnum):
    """How a secret is stored, seen from outside."""

    PLAIN = "plain"
    """Unencrypted, by a version that did not encrypt."""
    CURRENT = "current"
    """Encrypted with the current key."""
    OTHER = "other"
    """Encrypted with another key, or not readable at all."""


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    cipher: AESGCM


def _key_of(secret: SecretStr) -> _Key:
    info = b"atalaia: secrets of the records, version 1"
    kdf = HKDF(algorithm=SHA256(), length=KEY_BITS // 8, salt=None, info=info)
    raw = kdf.derive(secret.get_secret_value().encode())
    return _Key(hashlib.sha256(raw).hexdigest()[:8], AESGCM(raw))


class RecordCipher:
    """Encrypts secrets with the current key, and decrypts them with that and with others.

    Args:
        current: what the current key is derived from. None: this process has no key; it can read
            only what is stored unencrypted, and can write no secret.
        others: the same of keys that only decrypt.
    """

    def __init__(self, current: SecretStr | None = None, others: Iterable[SecretStr] = ()) -> None:
        self._current = None if current is None else _key_of(current)
        known = [*map(_key_of, others), *([self._current] if self._current else [])]
        self._keys = {key.kid: key for key in known}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The keys of the settings.

        Raises:
            ConfigError: there is no current one, or one is too short.
        """
        current, others = settings.database.encryption_key, settings.database.decryption_keys
        if current is None:
            raise ConfigError(
                "database.encryption_key is not set, so addresses and passwords of cameras cannot "
                "be stored.",
                hint=f"{_MAKE_ONE} Set ATALAIA_DATABASE__ENCRYPTION_KEY to it, the same for every "
                "process, and keep a copy apart from the database: without it no camera can be "
                "read any more.",
            )
        named = ("encryption_key", current), *(("decryption_keys", other) for other in others)
        for name, secret in named:
            if len(secret.get_secret_value()) < MIN_SECRET_CHARS:
                raise ConfigError(
                    f"database.{name} holds a key of fewer than {MIN_SECRET_CHARS} characters.",
                    hint=_MAKE_ONE,
                )
        return cls(current, others)

    @property
    def kid(self) -> str | None:
        """Name of the current key; None: there is none."""
        return self._current.kid if self._current else None

    def encrypt(self, secret: SecretStr, place: SecretPlace) -> SecretStr:
        """What to store at this place. Raises ConfigError: this process has no key."""
        if self._current is None:
            raise ConfigError(
                "this process has no key to encrypt what it is to store.",
                hint="Set ATALAIA_DATABASE__ENCRYPTION_KEY.",
            )
        kid, raw = self._current.kid, AESGCM.generate_key(KEY_BITS)
        body = _encrypted(self._current.cipher, raw, place.bound(kid, "data key"))
        text = secret.get_secret_value().encode()
        body += _encrypted(AESGCM(raw), text, place.bound(kid, "secret"))
        return SecretStr(f"{VERSION}.{kid}.{_base64(body)}")

    def decrypt(self, stored: SecretStr, place: SecretPlace) -> SecretStr:
        """The secret that is stored at this place.

        Raises:
            SecretUnreadableError: its key is not known here, or it was changed or moved.
        """
        text = stored.get_secret_value()
        if _MARK_OF_PLAIN in text:
            return stored
        parts = _STORED.fullmatch(text)
        if parts is None:
            raise _changed(place)
        if f"enc{parts['version']}" != VERSION:
            raise SecretUnreadableError(
                f"{place.column} was stored by a newer version of Atalaia.",
                hint="Run that version, or enter it again.",
            )
        return SecretStr(self._open(parts["kid"], parts["body"], place))

    def stored_as(self, stored: SecretStr) -> StoredAs:
        """How it is stored, without decrypting it."""
        text = stored.get_secret_value()
        if _MARK_OF_PLAIN in text:
            return StoredAs.PLAIN
        current = self.kid is not None and text.startswith(f"{VERSION}.{self.kid}.")
        return StoredAs.CURRENT if current else StoredAs.OTHER

    def _open(self, kid: str, body: str, place: SecretPlace) -> str:
        key = self._keys.get(kid)
        if key is None:
            raise SecretUnreadableError(
                f"{place.column} is encrypted with the key {kid}, which is missing.",
                hint="Enter it again, or ask the operator for the key.",
            )
        try:
            sealed = _unbase64(body)
            wrapped, rest = sealed[:_WRAPPED_BYTES], sealed[_WRAPPED_BYTES:]
            raw = _decrypted(key.cipher, wrapped, place.bound(kid, "data key"))
            return _decrypted(AESGCM(raw), rest, place.bound(kid, "secret")).decode()
        except (InvalidTag, ValueError):
            raise _changed(place) from None


def _changed(place: SecretPlace) -> SecretUnreadableError:
    return SecretUnreadableError(
        f"{place.column} does not decrypt: what is stored was changed, or belongs elsewhere.",
        hint="Enter it again.",
    )


def _encrypted(cipher: AESGCM, data: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, bound)


def _decrypted(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    """Raises InvalidTag, ValueError."""
    return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    """Raises ValueError: the text is not what `_base64` spells."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Several texts stand for the same bytes; only one of them is ours.
    if _base64(raw) != text:
        raise ValueError("another spelling")
    return raw
