"""Encrypted copies of files of secrets, in the format of age (age-encryption.org/v1), armored.

Any age program can read them: they have to be of use where Atalaia is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.errors import ConfigError, InputError, SecretUnreadableError

MIN_PASSPHRASE = 16
"""Characters. Whoever has the copy can try as many as they like, each for seconds (scrypt)."""
MAX_KEYS = 20
MAX_COPY = 6_000_000
"""Characters of the longest copy: of a file of `secret_file.MAX_BYTES` characters of four bytes
each, in base64."""
_HEAD = b"-----BEGIN AGE ENCRYPTED FILE-----"


def encrypt_to(content: bytes, recipients: Sequence[str]) -> bytes:
    """For whoever has the secret key of one of `recipients` (`age1…`, as `age-keygen` prints it).

    Raises:
        InputError: one is no recipient, or there are too many.
        ConfigError: pyrage is not installed.
    """
    age = _age()
    if len(recipients) > MAX_KEYS:
        raise InputError(f"more than {MAX_KEYS} recipients.", hint="Name fewer.")
    keys = []
    for number, recipient in enumerate(recipients, 1):
        try:
            keys.append(age.x25519.Recipient.from_str(recipient))
        except age.RecipientError:
            # Not quoted: it may be the secret key, given by mistake.
            raise InputError(
                f"recipient {number} is no public key of age.",
                hint="It begins with age1; `age-keygen -y FILE` prints that of a secret key.",
            ) from None
    return bytes(age.encrypt(content, keys, armored=True))


def encrypt_with(content: bytes, passphrase: str) -> bytes:
    """For whoever knows the passphrase; takes seconds, on purpose.

    Raises:
        InputError: it is too short.
        ConfigError: pyrage is not installed.
    """
    age = _age()
    if len(passphrase) < MIN_PASSPHRASE:
        raise InputError(
            f"the passphrase has {len(passphrase)} characters.",
            hint=f"Take {MIN_PASSPHRASE} or more, or a key: --recipient age1…",
        )
    return bytes(age.passphrase.encrypt(content, passphrase, armored=True))


def decrypt_by(copy: bytes, identities: str) -> bytes:
    """With the secret keys of a file as `age-keygen` writes it.

    Raises:
        InputError: there is none in it, or too many.
        SecretUnreadableError: `copy` is not for any of them, was changed, or is no copy.
        ConfigError: pyrage is not installed.
    """
    age = _age()
    lines = [line.strip() for line in identities.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not 0 < len(found) <= MAX_KEYS:
        raise InputError(
            f"the file of keys has {len(found)} secret keys.",
            hint=f"`age-keygen` makes one; up to {MAX_KEYS} are tried.",
        )
    try:
        keys = [age.x25519.Identity.from_str(line) for line in found]
    except age.IdentityError:
        raise InputError(
            "the file of keys has a line that is no secret key of age.",
            hint="One begins with AGE-SECRET-KEY-1; comments with #.",
        ) from None
    return _decrypted(lambda: age.decrypt(_checked(copy), keys))


def decrypt_with(copy: bytes, passphrase: str) -> bytes:
    """With the passphrase.

    Raises:
        SecretUnreadableError: it is another one, or `copy` was changed, or is no copy.
        ConfigError: pyrage is not installed.
    """
    age = _age()
    return _decrypted(lambda: age.passphrase.decrypt(_checked(copy), passphrase))


def _checked(copy: bytes) -> bytes:
    if not copy.lstrip().startswith(_HEAD):
        raise SecretUnreadableError(
            "this is no copy made by `atalaia secrets backup`.",
            hint=f"It begins with {_HEAD.decode()}.",
        )
    return copy


def _decrypted(attempt: Any) -> bytes:
    age = _age()
    try:
        return bytes(attempt())
    except age.DecryptError:
        raise SecretUnreadableError(
            "the copy cannot be decrypted: it is for another key or passphrase, or was changed.",
            hint="With --identity name the file of the secret key; without, give the passphrase.",
        ) from None


def _age() -> Any:
    """Imported late: few commands need it."""
    try:
        import pyrage
    except ImportError:
        raise ConfigError(
            "pyrage, which encrypts copies, is not installed.", hint="`make install` installs it."
        ) from None
    return pyrage
