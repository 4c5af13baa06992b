"""What a route adds to its audit entry, where address and answer do not say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from cluster.stores.audit.events import AuditAction

MAX_NAMED = 16
"""Cameras of a policy or group that an entry names; the policy or group itself has all of them."""


@dataclass(slots=True)
class AuditNote:
    """One per request, made by `AuditRequests`. A route fills in what only it knows.

    Attributes:
        object_id: what the request is about, where its address does not name it.
        details: never a secret; cut to size when the event is made.
        tenants: whom a change of the platform concerns: it is logged in their chains as well.
        action: the action, where it is another than that of the table.
        also: further actions that this request is, besides the one of the table.
        link: tenant and actor of a request without key, whose credential is a signed link, a
            password or a refresh token.
        committed: the change is made, whatever becomes of the answer. Every route that changes
            something sets it right after its write.
    """

    object_id: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    tenants: set[str] = field(default_factory=set)
    action: AuditAction | None = None
    also: list[AuditAction] = field(default_factory=list)
    link: tuple[str, str] | None = None
    committed: bool = False


async def get_note(request: Request) -> AuditNote:
    note = getattr(request.state, "audit", None)
    if not isinstance(note, AuditNote):
        raise AssertionError(f"{request.url.path} is not behind AuditRequests")
    return note


AuditNoteDep = Annotated[AuditNote, Depends(get_note)]
