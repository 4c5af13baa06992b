"""`/v1/erasures`: erasures on request, their progress, and the signed receipts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints, model_validator

from cluster.core.roles import Permission
from cluster.stores.db import ErasureRecord
from cluster.stores.db.erasures import MAX_LISTED
from pipelines.domain import Slug
from pipelines.erasure import (
    MAX_OBJECTS,
    ErasureKind,
    ErasureState,
    ErasureStep,
    StepState,
    Target,
    WaitReason,
)
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import TRACK_PATTERN, Remark, RequestBody, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import ErasuresDep, TenantDep
from serve.api.times import rfc3339, rfc3339_or_none

router = APIRouter(
    tags=["retention"],
    responses=responses(401, 403, 422, 429, 503),
)

ErasurePath = Annotated[UUID, Path(description="Id of the erasure.")]
TrackField = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=TRACK_PATTERN)]
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Address of the erasure."}
        }
    }
}


class ObjectName(RequestBody):
    camera: Slug = Field(examples=["gate"])
    track: TrackField = Field(examples=["18c0f7a2b31-4a-0-person"])


class Subject(RequestBody):
    """One object, several, or everything."""

    object: TrackField | None = Field(None, description="`track` of one object.")
    camera: Slug | None = Field(
        None, description="Of that object; needed only where two cameras have such a track."
    )
    objects: Annotated[list[ObjectName], Field(min_length=1, max_length=MAX_OBJECTS)] | None = (
        Field(None, description="Several: found by a search, and checked by a person.")
    )
    tenant: Literal[True] | None = Field(None, description="Everything that your tenant has.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [one for one in (self.object, self.objects, self.tenant) if one is not None]
        if len(given) != 1:
            raise ValueError("give one of `object`, `objects` and `tenant`")
        if self.camera is not None and self.object is None:
            raise ValueError("`camera` belongs to `object`")
        return self


class NewErasure(RequestBody):
    subject: Subject
    reason: Annotated[Remark, Field(min_length=1)] = Field(
        description="Stands in the receipt: a case number rather than a name.",
        examples=["request 2026/118"],
    )
    confirm: str | None = Field(
        None, max_length=40, description="For `tenant`: the id of your tenant, typed again."
    )


class StepView(ResponseBody):
    step: ErasureStep
    state: StepState
    waiting_for: WaitReason | None = Field(description="Why it is not done yet.")
    detail: str | None = Field(description="The same for people.")


class CountView(ResponseBody):
    kind: str = Field(examples=["sql.alarms"], description="Store and kind.")
    removed: int
    bytes: int = Field(description="Of files.")


class ErasureView(ResponseBody):
    id: UUID
    kind: ErasureKind
    objects: int = Field(description="How many it was asked for; 0: the whole tenant.")
    reason: str
    created_at: str
    created_by: str
    state: ErasureState
    steps: list[StepView] = Field(description="In the order of work.")
    removed: list[CountView] = Field(description="So far.")
    ended_at: str | None
    receipt: dict[str, Any] | None = Field(
        description="Signed; `atalaia erasure verify` checks it. null until it is done. It does "
        "not cover what comes back later and is removed then."
    )


class ErasureSummary(ResponseBody):
    """One erasure in a list."""

    id: UUID
    kind: ErasureKind
    objects: int
    reason: str
    created_at: str
    created_by: str
    state: ErasureState
    ended_at: str | None


class ErasureList(ResponseBody):
    erasures: list[ErasureSummary]


def summary_of(record: ErasureRecord) -> ErasureSummary:
    """An erasure without its steps and receipt."""
    return ErasureSummary(
        id=record.id,
        kind=record.kind,
        objects=record.objects,
        reason=record.reason,
        created_at=rfc3339(record.created_us),
        created_by=record.created_by,
        state=record.state,
        ended_at=rfc3339_or_none(record.ended_us),
    )


def _view(record: ErasureRecord) -> ErasureView:
    return ErasureView(
        **summary_of(record).model_dump(),
        steps=[
            StepView(
                step=report.step,
                state=report.state,
                waiting_for=report.reason,
                detail=report.detail or None,
            )
            for report in record.steps
        ],
        removed=[
            CountView(kind=kind, removed=count.removed, bytes=count.bytes)
            for kind, count in sorted(record.counts.items())
            if count.removed
        ],
        receipt=record.receipt,
    )


@router.post(
    "/v1/erasures",
    status_code=202,
    summary="Erase objects, or the whole tenant",
    responses=responses(400, 404, 409, 413) | ACCEPTED,
    dependencies=[needs(Permission.ERASURE_MANAGE)],
)
async def add_erasure(
    body: NewErasure, scope: TenantDep, response: Response, note: AuditNoteDep
) -> ErasureView:
    """Erases from every store: rows, pictures, clips, vectors, what is in Redis, and the recordings
    of that time, of which an object cannot be cut out. What a legal hold keeps stays, and the
    receipt names it. It cannot be undone.

    With `tenant` nobody of the tenant can sign in from then on; the operator has the receipt."""
    subject = body.subject
    if subject.tenant:
        note.details |= {"kind": ErasureKind.TENANT.value}
        scope.check_confirmed(body.confirm)
        record = await scope.erasures.ask_for_all(body.reason, scope.actor)
    else:
        targets = await _targets(subject, scope)
        note.details |= {"kind": ErasureKind.OBJECTS.value, "objects": len(targets)}
        record = await scope.erasures.ask(targets, body.reason, scope.actor)
    note.committed = True
    response.headers["Location"] = f"/v1/erasures/{record.id}"
    return _view(record)


async def _targets(subject: Subject, scope: TenantDep) -> Sequence[Target]:
    """Raises NotFoundError, or ConflictError where several cameras have such a track."""
    if subject.objects is not None:
        return [Target(one.camera, one.track) for one in subject.objects]
    assert subject.object is not None
    if subject.camera is not None:
        return [Target(subject.camera, subject.object)]
    found = await scope.tracks.object(subject.object)
    return [Target(found.sighting.camera, found.sighting.track)]


@router.get(
    "/v1/erasures",
    summary="List erasures, newest first",
    dependencies=[needs(Permission.ERASURE_READ)],
)
async def list_erasures(
    erasures: ErasuresDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
) -> ErasureList:
    """With the platform key those of whole tenants."""
    return ErasureList(erasures=[summary_of(one) for one in await erasures.erasures(limit)])


@router.get(
    "/v1/erasures/{erasure}",
    summary="One erasure",
    responses=responses(404),
    dependencies=[needs(Permission.ERASURE_READ)],
)
async def get_erasure(erasure: ErasurePath, erasures: ErasuresDep) -> ErasureView:
    """How far it is, and its receipt when it is done. With the platform key one of a whole
    tenant."""
    return _view(await erasures.erasure(erasure))
