"""The hash chain of the audit log: how an entry is encoded and hashed, and what a check finds.

Encoding, version 1: the JSON array

    ["atalaia-audit-1", tenant, sequence, at_us, actor, action, object_kind, object_id, address,
     outcome, reason, details, prev_hash]

without white space, with the keys of `details` sorted by code point and everything outside ASCII
escaped as \\uXXXX. `hash` is the SHA-256 of these bytes, 64 lower-case hex digits. `prev_hash` is
the `hash` of the entry before, and 64 zeros for the first. The platform's tenant is "".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple

from cluster.stores.audit.events import AuditEvent

FORMAT = "atalaia-audit-1"
GENESIS = "0" * 64


class Head(NamedTuple):
    """The last entry of a chain."""

    sequence: int
    hash: str


EMPTY = Head(0, GENESIS)
"""Head of a chain without entries."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A row as it is stored. Its values are not validated, because a check has to see whatever
    somebody may have written there."""

    tenant: str
    sequence: int
    at_us: int
    actor: str
    action: str
    object_kind: str
    object_id: str
    address: str | None
    outcome: str
    reason: str | None
    details: Any
    prev_hash: str
    hash: str


_HASHED = tuple(field.name for field in fields(AuditEntry) if field.name != "hash")


def canonical(entry: AuditEntry) -> bytes:
    """The bytes that are hashed: every field but `hash`, as the module's text says."""
    values = [FORMAT, *(getattr(entry, name) for name in _HASHED)]
    spelt = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return spelt.encode("ascii")


def entry_hash(entry: AuditEntry) -> str:
    """SHA-256 of the canonical encoding, 64 hex digits."""
    return hashlib.sha256(canonical(entry)).hexdigest()


def chained(chain: str, head: Head, events: Sequence[AuditEvent]) -> list[AuditEntry]:
    """The entries that continue a chain after `head`."""
    entries: list[AuditEntry] = []
    for event in events:
        entry = AuditEntry(
            tenant=chain,
            sequence=head.sequence + 1,
            **event.model_dump(mode="json"),
            prev_hash=head.hash,
            hash="",
        )
        entry = replace(entry, hash=entry_hash(entry))
        head = Head(entry.sequence, entry.hash)
        entries.append(entry)
    return entries


class Fault(StrEnum):
    """What is wrong with a chain."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    REWRITTEN = "rewritten"
    TRUNCATED = "truncated"
    FOREIGN = "foreign"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong with a chain, and the sequence number where it shows."""

    chain: str
    fault: Fault
    sequence: int
    detail: str


# Of a value that a finding quotes.
_QUOTED = 80


def quoted(value: object) -> str:
    """What somebody wrote into a row, for a person to read: on one line, in ASCII, cut."""
    spelt = ascii(value[:_QUOTED] if isinstance(value, str | bytes) else value)
    return spelt if len(spelt) <= _QUOTED else f"{spelt[:_QUOTED]}..."


def foreign(name: object, rows: int) -> Finding:
    """Rows under a name that no chain has."""
    detail = f"{rows} rows stand under a name that no tenant can have"
    return Finding(quoted(name), Fault.FOREIGN, 1, detail)


class ChainCheck:
    """Recomputes one chain, entry by entry, in constant memory.

    Args:
        chain: tenant, or "" for the platform.
        anchors: hashes that the chain is known to have had, by sequence number.
    """

    def __init__(self, chain: str, anchors: Mapping[int, str] | None = None) -> None:
        self._chain = chain
        self._anchors = dict(anchors or {})
        self.head = EMPTY

    def feed(self, entry: AuditEntry) -> Finding | None:
        """Check the next entry in the order of sequence numbers; None: it is right."""
        expected = self.head.sequence + 1
        wrong = (
            _misplaced(entry, expected)
            or _unlinked(entry, self.head)
            or _changed(entry)
            or self._rewritten(entry)
        )
        if wrong is not None:
            return Finding(self._chain, wrong[0], expected, wrong[1])
        self.head = Head(entry.sequence, entry.hash)
        return None

    def unreadable(self, reason: str) -> Finding:
        """The next entry cannot be read."""
        return Finding(self._chain, Fault.UNREADABLE, self.head.sequence + 1, reason)

    def end(self) -> Finding | None:
        """Check that the chain reaches as far as the anchors say."""
        last = max(self._anchors, default=0)
        if last <= self.head.sequence:
            return None
        return Finding(
            self._chain,
            Fault.TRUNCATED,
            self.head.sequence + 1,
            f"the chain ends at {self.head.sequence}, but an anchor proves that it reached {last}",
        )

    def _rewritten(self, entry: AuditEntry) -> tuple[Fault, str] | None:
        if self._anchors.get(entry.sequence, entry.hash) == entry.hash:
            return None
        return (
            Fault.REWRITTEN,
            "its hash is not the one that was anchored: this row or earlier ones were rewritten",
        )


def _misplaced(entry: AuditEntry, expected: int) -> tuple[Fault, str] | None:
    # SQLite accepts text in an integer column.
    if type(entry.sequence) is not int or entry.sequence < expected:
        return Fault.REORDERED, f"a row is numbered {quoted(entry.sequence)} here"
    if entry.sequence > expected:
        return Fault.MISSING, f"the next row is {entry.sequence}"
    return None


def _unlinked(entry: AuditEntry, head: Head) -> tuple[Fault, str] | None:
    if entry.prev_hash == head.hash:
        return None
    before = f"row {head.sequence}" if head.sequence else "the beginning"
    return Fault.REORDERED, f"it does not follow {before}: one of them was moved or replaced"


def _changed(entry: AuditEntry) -> tuple[Fault, str] | None:
    try:
        same = entry_hash(entry) == entry.hash
    # Bytes, deep nesting, or anything else that no entry of ours holds.
    except (TypeError, ValueError, RecursionError):
        same = False
    return None if same else (Fault.CHANGED, "its content does not match its hash")
