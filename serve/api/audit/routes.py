"""`/v1/audit`: who saw or changed what, when, from where, and with what outcome."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from cluster.core.roles import Permission
from cluster.stores.audit.chain import GENESIS, AuditEntry
from cluster.stores.audit.events import (
    MAX_ACTOR,
    MAX_ADDRESS,
    MAX_AUDIT_PAGE,
    MAX_ID,
    MAX_KIND,
    MAX_REASON,
    AuditAction,
    AuditQuery,
)
from serve.api.audit.shown import shown_details, shown_text, shown_time
from serve.api.fields import Moment, NextCursor, PageCursor, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import AuditDep
from serve.api.times import micros

# Characters of the columns (`cluster.stores.db.models.AuditRow`).
MAX_ACTION = 40
MAX_OUTCOME = 8
HASH_DIGITS = len(GENESIS)

router = APIRouter(
    tags=["audit"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.AUDIT_READ)],
)

ActorFilter = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MAX_ACTOR,
        # PostgreSQL takes no NUL in a text, and no actor has spaces.
        pattern=r"^[!-~]+$",
        description="Only what this actor did.",
        examples=["key:3kd82hs9"],
    ),
]


class AuditObject(ResponseBody):
    """What an entry is about."""

    kind: str = Field(examples=["camera"])
    id: str = Field(description="Empty where it is about no single thing.", examples=["gate"])


class AuditView(ResponseBody):
    sequence: int = Field(description="1, 2, … within the chain, without gaps.")
    at: str
    actor: str = Field(examples=["key:3kd82hs9"])
    action: str = Field(examples=["camera.change"])
    object: AuditObject
    address: str | None = Field(description="Of the client, behind trusted proxies.")
    outcome: str = Field(description="`done` or `refused`.")
    reason: str | None = Field(
        description="Status of a refusal, or of the failed answer to a change that was made."
    )
    details: dict[str, Any]
    prev_hash: str = Field(description="`hash` of the entry before.")
    hash: str = Field(description="SHA-256 over all other fields.")


class AuditList(ResponseBody):
    entries: list[AuditView]
    next_cursor: NextCursor


def _view(entry: AuditEntry) -> AuditView:
    kind, thing = shown_text(entry.object_kind, MAX_KIND), shown_text(entry.object_id, MAX_ID)
    address, reason = entry.address, entry.reason
    return AuditView(
        sequence=entry.sequence,
        at=shown_time(entry.at_us),
        actor=shown_text(entry.actor, MAX_ACTOR),
        action=shown_text(entry.action, MAX_ACTION),
        object=AuditObject(kind=kind, id=thing),
        address=None if address is None else shown_text(address, MAX_ADDRESS),
        outcome=shown_text(entry.outcome, MAX_OUTCOME),
        reason=None if reason is None else shown_text(reason, MAX_REASON),
        details=shown_details(entry.details),
        prev_hash=shown_text(entry.prev_hash, HASH_DIGITS),
        hash=shown_text(entry.hash, HASH_DIGITS),
    )


@router.get("/v1/audit", summary="The audit log, newest first")
async def list_audit(
    log: AuditDep,
    actor: ActorFilter = None,
    action: AuditAction | None = None,
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, Query(ge=1, le=MAX_AUDIT_PAGE)] = 50,
    cursor: PageCursor = None,
) -> AuditList:
    """With a tenant's key that tenant's log, with the platform key the platform's own. `since` is
    inclusive, `until` is not. Keep the filters when you page on with a cursor. An entry is there
    within some milliseconds of what it describes, unless `/readyz` reports `delayed`."""
    page = await log.page(
        AuditQuery(
            actor=actor,
            action=action,
            since_us=micros(since),
            until_us=micros(until),
            limit=limit,
            cursor=cursor,
        )
    )
    return AuditList(entries=[_view(e) for e in page.items], next_cursor=page.next_cursor)
