"""Anchors: signed statements that a chain had a certain hash at a certain time.

A chain alone cannot show that its end was cut off, or that all of it was written anew. An anchor
that is kept where the database's owner cannot change it shows both.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Self

from pydantic import Field, SecretStr, ValidationError

from cluster.core.files import sync
from cluster.core.settings import Settings
from cluster.stores.audit.chain import Head
from pipelines.domain import Frozen
from pipelines.errors import ConfigError, InputError
from pipelines.times import rfc3339

FORMAT = "atalaia-audit-anchor-1"
FILE_NAME = "anchors.jsonl"
MIN_SECRET_CHARS = 32
# A line has some 330 bytes.
MAX_LINE = 1024
# Makes the derived key another one than the secret that it comes from.
_PURPOSE = b"atalaia: anchors of the audit log, version 1"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Anchor(Frozen):
    """One line of a file of anchors.

    Attributes:
        tenant: whose chain; "" for the platform's.
        at: when it was made, RFC 3339.
        kid: which key signed it.
        signature: HMAC-SHA256 over the JSON array of format, tenant, sequence, hash, at and kid,
            spelt as the chain's entries are; 64 hex digits.
    """

    tenant: str
    sequence: Annotated[int, Field(ge=1)]
    hash: Digest
    at: str
    kid: str
    signature: Digest


def _key_of(secret: SecretStr) -> bytes:
    return hmac.digest(secret.get_secret_value().encode(), _PURPOSE, "sha256")


def _kid_of(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]


class AnchorKeys:
    """Signs anchors with the current key, and checks them with that and with former ones.

    Args:
        current: secret that the signing key is derived from.
        former: secrets of earlier times.
    """

    def __init__(self, current: SecretStr, former: Iterable[SecretStr] = ()) -> None:
        key = _key_of(current)
        self._kid = _kid_of(key)
        self._keys = {_kid_of(old): old for old in map(_key_of, former)} | {self._kid: key}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The keys that the settings name.

        Raises:
            ConfigError: a secret is too short, or there is none.
        """
        current = settings.audit.secret or settings.livekit.api_secret
        former = settings.audit.former_secrets
        named = ("audit.secret", current), *(("audit.former_secrets", old) for old in former)
        for name, secret in named:
            if len(secret.get_secret_value()) < MIN_SECRET_CHARS:
                raise ConfigError(
                    f"{name} (or else livekit.api_secret) has fewer than {MIN_SECRET_CHARS} "
                    "characters, so anchors of the audit log cannot be signed.",
                    hint="Set ATALAIA_AUDIT__SECRET, the same for every process.",
                )
        return cls(current, former)

    def sign(self, chain: str, head: Head, at_us: int) -> Anchor:
        """An anchor of the chain's head.

        Raises:
            InputError: the last row was not written by Atalaia.
        """
        sequence, digest = head
        # Strictly: what validation would turn into a number was signed as something else.
        if type(sequence) is not int or type(digest) is not str:
            raise _no_head(chain)
        at = rfc3339(at_us)
        signature = _signature(self._keys[self._kid], chain, sequence, digest, at, self._kid)
        try:
            return Anchor(
                tenant=chain,
                sequence=sequence,
                hash=digest,
                at=at,
                kid=self._kid,
                signature=signature,
            )
        except ValidationError:
            raise _no_head(chain) from None

    def check(self, anchor: Anchor) -> None:
        """Raises InputError: the anchor was signed with an unknown key, or was changed."""
        key = self._keys.get(anchor.kid)
        if key is None:
            raise InputError(
                f"an anchor was signed with the key {anchor.kid}, which is not known here.",
                hint="Add the secret of that time to audit.former_secrets.",
            )
        fields = anchor.tenant, anchor.sequence, anchor.hash, anchor.at, anchor.kid
        if not hmac.compare_digest(_signature(key, *fields), anchor.signature):
            raise InputError(
                f"the anchor of {anchor.at} has a wrong signature: it was changed.",
                hint="Use the copy that is kept elsewhere.",
            )


def _no_head(chain: str) -> InputError:
    return InputError(
        f"the last row of {chain or 'the platform'} was not written by Atalaia.",
        hint="Run `atalaia audit verify`.",
    )


def sign_heads(
    keys: AnchorKeys, heads: Mapping[str, Head], at_us: int
) -> tuple[list[Anchor], list[str]]:
    """An anchor of each chain, and the chains whose last row was not written by Atalaia."""
    anchors: list[Anchor] = []
    refused: list[str] = []
    for chain, head in sorted(heads.items()):
        try:
            anchors.append(keys.sign(chain, head, at_us))
        except InputError:
            refused.append(chain)
    return anchors, refused


def _signature(key: bytes, *fields: str | int) -> str:
    spelt = json.dumps([FORMAT, *fields], separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, spelt.encode("ascii"), "sha256").hexdigest()


def read_anchors(path: Path) -> Iterator[Anchor]:
    """The anchors in a file, one per line. Blocking. A last line that a crash tore is left out.

    Raises:
        InputError: the file cannot be read, or a line is no anchor.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    anchor = _anchor(path, number, line)
                    if anchor is not None:
                        yield anchor
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the anchors in {path}: {error}.") from None


def _anchor(path: Path, number: int, line: str) -> Anchor | None:
    try:
        return Anchor.model_validate_json(line)
    except ValidationError:
        if not line.endswith("\n"):
            return None
        raise InputError(
            f"line {number} of {path} is no anchor.", hint="Use the copy that is kept elsewhere."
        ) from None


def append_anchors(path: Path, anchors: Iterable[Anchor]) -> None:
    """Add anchors to a file, and to the disk. Blocking. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{anchor.model_dump_json()}\n" for anchor in anchors).encode()
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        end = _end_of_lines(file)
        file.seek(end)
        if _is_anchor(file.read()):
            file.write(b"\n")
        else:
            file.truncate(end)
            file.seek(end)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def _is_anchor(line: bytes) -> bool:
    try:
        Anchor.model_validate_json(line)
    except ValidationError:
        return False
    return True


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line ends: behind it is what an earlier write did not finish."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - MAX_LINE)
    file.seek(start)
    tail = file.read()
    # Nothing that long is a torn line of ours: it stays, and reading it says so.
    return start + tail.rfind(b"\n") + 1 if b"\n" in tail or start == 0 else size


def by_chain(anchors: Iterable[Anchor], keys: AnchorKeys) -> Mapping[str, Mapping[int, str]]:
    """The hashes by chain and sequence number. Raises InputError as `AnchorKeys.check` does, and
    where two anchors contradict each other."""
    found: dict[str, dict[int, str]] = {}
    for anchor in anchors:
        keys.check(anchor)
        known = found.setdefault(anchor.tenant, {})
        if known.setdefault(anchor.sequence, anchor.hash) != anchor.hash:
            raise InputError(
                f"two anchors of row {anchor.sequence} of {anchor.tenant or 'the platform'} "
                "contradict each other.",
                hint="The log was rewritten between them: compare it with a backup.",
            )
    return found
