"""Receipts: signed statements of what was erased, for people outside of this installation.

Ed25519, so that whoever has the public key can check one without any secret of ours: the person
who asked, a court, a tenant that is not there any more. The key is derived from the secret that
signs anchors of the audit log, which is there already and is kept from the database's owner.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from cluster.core.settings import Settings
from pipelines.errors import ConfigError, InputError

FORMAT = "atalaia-erasure-receipt-1"
MIN_SECRET_CHARS = 32
# 500 digests, and some hundred counts.
MAX_BYTES = 1_000_000
# Makes the derived key another one than that of the anchors.
_PURPOSE = b"atalaia: receipts of erasures, version 1"


def canonical(body: Mapping[str, Any]) -> bytes:
    """The bytes that are signed: JSON without spaces, names in order, ASCII only."""
    return json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


class ReceiptKeys:
    """Signs receipts with the current key, and knows the public keys of earlier ones.

    Args:
        current: secret that the signing key is derived from.
        former: secrets of earlier times.
    """

    def __init__(self, current: SecretStr, former: Iterable[SecretStr] = ()) -> None:
        self._key = _key_of(current)
        publics = [_public(self._key), *(_public(_key_of(secret)) for secret in former)]
        self.kid = kid_of(publics[0])
        self.public: Mapping[str, bytes] = {kid_of(public): public for public in publics}
        """Raw public keys, 32 bytes each, by `kid`."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The keys that the settings name.

        Raises:
            ConfigError: a secret is too short, or there is none.
        """
        current = settings.audit.secret or settings.livekit.api_secret
        for secret in (current, *settings.audit.former_secrets):
            if len(secret.get_secret_value()) < MIN_SECRET_CHARS:
                raise ConfigError(
                    f"audit.secret or one of audit.former_secrets (or else livekit.api_secret) has "
                    f"fewer than {MIN_SECRET_CHARS} characters: receipts cannot be signed.",
                    hint="Set ATALAIA_AUDIT__SECRET, the same for every process.",
                )
        return cls(current, settings.audit.former_secrets)

    def sign(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The receipt: `body` with the key's name and the signature."""
        named = {**body, "key": {"kid": self.kid, "ed25519": self.public[self.kid].hex()}}
        return {**named, "signature": self._key.sign(canonical(named)).hex()}


def verify(receipt: Mapping[str, Any], public: Mapping[str, bytes]) -> None:
    """Check a receipt.

    Args:
        public: trusted keys by `kid`. The key that a receipt itself names proves nothing.

    Raises:
        InputError: it is none, its key is unknown, or it was changed.
    """
    if receipt.get("format") != FORMAT:
        raise InputError("this is not a receipt of an erasure.")
    key, signature = receipt.get("key"), receipt.get("signature")
    kid = key.get("kid") if isinstance(key, dict) else None
    if not isinstance(kid, str) or kid not in public:
        raise InputError(
            f"the receipt was signed with the key {str(kid)[:32]!r}, which is not known here.",
            hint="Give the key with --public-key, or add the secret of that time to "
            "audit.former_secrets.",
        )
    body = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        Ed25519PublicKey.from_public_bytes(public[kid]).verify(
            bytes.fromhex(str(signature)), canonical(body)
        )
    except (InvalidSignature, ValueError):
        raise InputError(
            "the receipt has a wrong signature: it was changed.",
            hint="Ask for it again: GET /v1/erasures/{erasure}.",
        ) from None


def read_receipt(path: Path) -> dict[str, Any]:
    """A receipt from a file, or from a file that has it under `receipt`, as the API answers.
    Blocking. Raises InputError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        found = json.loads(data, object_pairs_hook=_unique) if len(data) <= MAX_BYTES else None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("receipt"), dict):
        found = found["receipt"]
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no receipt of an erasure.")
    return found


def public_key(text: str) -> tuple[str, bytes]:
    """A public key as `atalaia erasure key` shows it, with its `kid`. Raises InputError."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise InputError("a public key has 64 hexadecimal digits.")
    return kid_of(raw), raw


def kid_of(public: bytes) -> str:
    """The name of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def _key_of(secret: SecretStr) -> Ed25519PrivateKey:
    seed = hmac.digest(secret.get_secret_value().encode(), _PURPOSE, "sha256")
    return Ed25519PrivateKey.from_private_bytes(seed)


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError: a name occurs twice, so that it depends on the reader what it means."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found
