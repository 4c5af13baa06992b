"""Events and chains for tests of the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cluster.stores.audit.chain import EMPTY, AuditEntry, ChainCheck, Finding, chained
from cluster.stores.audit.events import AuditAction, AuditEvent
from tests.factories import T0_US


def make_event(number: int = 0, **fields: Any) -> AuditEvent:
    """Event `number`, one second after the one before."""
    return AuditEvent(
        **{
            "at_us": T0_US + number * 1_000_000,
            "actor": "key:aaaaaaaa",
            "action": AuditAction.CAMERA_CHANGE,
            "object_kind": "camera",
            "object_id": f"camera-{number}",
            "address": "192.0.2.7",
            **fields,
        }
    )


def make_chain(length: int, chain: str = "acme") -> list[AuditEntry]:
    return chained(chain, EMPTY, [make_event(n) for n in range(length)])


def first_fault(
    chain: str, entries: Iterable[AuditEntry], anchors: Mapping[int, str] | None = None
) -> Finding | None:
    """The first fault of a chain whose entries are at hand, in order; None: it is whole."""
    check = ChainCheck(chain, anchors)
    for entry in entries:
        if found := check.feed(entry):
            return found
    return check.end()
