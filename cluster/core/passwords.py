"""Passwords of users: argon2id, which makes guessing expensive. Everything here blocks."""

from __future__ import annotations

import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from pipelines.errors import InputError

# Length is what counts, so nothing else is asked for (NIST SP 800-63B, 3.1.1).
MIN_CHARS = 12
MAX_CHARS = 256

# RFC 9106, section 4: three passes over 64 MiB where memory is scarce. One lane in place of its
# four, so that a check keeps one core busy and no more: 210 ms on one core of a Xeon.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)

# Of no password: the same work for an account that does not exist as for one that does.
_NOBODY = f"$argon2id$v=19$m=65536,t=3,p=1${'A' * 22}${'A' * 43}"


def check_password(password: str) -> None:
    """Raises InputError: it is too short, too long, or one character again and again."""
    if len(password) < MIN_CHARS:
        raise InputError(
            f"a password has at least {MIN_CHARS} characters.",
            hint="A few unrelated words make a good one.",
        )
    if len(password) > MAX_CHARS:
        raise InputError(f"a password has at most {MAX_CHARS} characters.")
    if len(set(password)) < 4:
        raise InputError(
            "this password is too easy to guess.", hint="A few unrelated words make a good one."
        )


def hash_password(password: str) -> str:
    """What is kept of a password, with its salt and parameters."""
    return _HASHER.hash(_bytes(password))


def verify_password(kept: str | None, password: str) -> bool:
    """Whether `password` is the one that `kept` was made of. None: there is no such account; takes
    as long."""
    try:
        return _HASHER.verify(kept or _NOBODY, _bytes(password))
    except VerifyMismatchError:
        return False


def is_outdated(kept: str) -> bool:
    """Whether it was made with other parameters than those of now."""
    return _HASHER.check_needs_rehash(kept)


def _bytes(password: str) -> bytes:
    # Keyboards and systems spell the same letter in several ways (RFC 8265).
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
