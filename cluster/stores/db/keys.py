"""API keys: `atk_<8 id>_<43 secret>`. The id finds the row, the hash of the whole key proves it.

The secret part is 256 random bits, so a plain SHA-256 is enough at rest: there is nothing to guess,
and a slow hash would only make every request slow.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string

_KEY = re.compile(r"atk_(?P<id>[a-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_ID_ALPHABET = string.ascii_lowercase + string.digits
_SECRET_BYTES = 32


def random_id(length: int) -> str:
    """Random lower-case letters and digits."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))


def new_key() -> str:
    """A fresh random key in the one valid form."""
    return f"atk_{random_id(8)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def key_id(key: str) -> str | None:
    """The public part of a key, or None where the text is not a key."""
    match = _KEY.fullmatch(key)
    return match["id"] if match else None


def digest(key: str) -> str:
    """What is kept of a key: SHA-256, 64 hex digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def proves(key: str, kept: str) -> bool:
    """Whether `key` is the one of which `kept` is the digest; constant time."""
    return hmac.compare_digest(digest(key), kept)


def works(expires_us: int | None, revoked_us: int | None, now_us: int) -> bool:
    """Whether a key is neither revoked nor expired."""
    return revoked_us is None and (expires_us is None or now_us < expires_us)
