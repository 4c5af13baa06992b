"""Who was given something that outlives its request: a place in a room, a link to a file.

It ends with the key or the session that it was asked for with, and with what that could do then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class CredentialKind(StrEnum):
    KEY = "key"
    SESSION = "session"


# Slugs of tenants, ids of keys, and session ids are of these letters; the platform has no tenant.
_TEXT = re.compile(
    r"(?P<tenant>[a-z0-9-]{0,40})/(?P<kind>key|session):(?P<id>[\w-]{1,40})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or a session by its id, which opens nothing. `tenant`: None: the platform's."""

    tenant: str | None
    kind: CredentialKind
    id: str

    def __str__(self) -> str:
        return f"{self.tenant or ''}/{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The credential that `str` gave this text. Raises ValueError: it is none."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError("this names no credential")
        return cls(found["tenant"] or None, CredentialKind(found["kind"]), found["id"])


@dataclass(frozen=True, slots=True)
class Holder:
    """Who was given it.

    Attributes:
        rights: what the credential could do then; see `Principal.rights`.
    """

    credential: Credential
    rights: str
