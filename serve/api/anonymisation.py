"""`/v1/policies/anonymisation` and `/v1/reveals`: who is hidden in evidence, and who may see
originals for some minutes."""

from __future__ import annotations

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from cluster.core.roles import Permission
from cluster.stores.db import Reveal, StoredAnonymisation
from pipelines.anonymisation import MAX_CLASSES, AnonymisationPolicy, ClassName, Hide, HideStyle
from pipelines.domain import Slug
from pipelines.errors import InputError
from pipelines.retention import MAX_CAMERAS
from serve.api.audit.note import MAX_NAMED, AuditNoteDep
from serve.api.clips import recording_policy
from serve.api.fields import CREATED, RequestBody, ResponseBody, printable
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import TenantDep, TenantScope
from serve.api.state import DepsDep
from serve.api.times import micros, rfc3339, rfc3339_or_none

router = APIRouter(tags=["anonymisation"], responses=responses(401, 403, 422, 429, 503))

DEFAULT_MINUTES, MAX_MINUTES = 10, 60
# As much as an entry of the audit log holds of one text.
MAX_REASON = 200

RevealPath = Annotated[UUID, Path(description="Id of the reveal.")]
Reason = Annotated[
    str,
    StringConstraints(min_length=3, max_length=MAX_REASON, strip_whitespace=True),
    AfterValidator(printable),
]

# ------------------------------------------------------------ policy


class NewAnonymisation(RequestBody):
    """What is left out has its default: nothing is hidden."""

    hide: Hide = Field(
        Hide.OFF,
        description="On all cameras. `persons`: whole persons. `heads`: the upper part of each "
        "person's box, where the head of a standing person is; no model looks for faces.",
    )
    cameras: Annotated[dict[Slug, Hide], Field(max_length=MAX_CAMERAS)] = Field(
        default_factory=dict,
        description="On single cameras, where they differ.",
        examples=[{"gate": "heads", "yard": "off"}],
    )
    style: HideStyle = Field(HideStyle.MOSAIC, description="`mosaic` of large cells, or grey.")
    keep_audio: bool = Field(False, description="Keep the sound of anonymised clips and exports.")
    classes: Annotated[list[ClassName], Field(min_length=1, max_length=MAX_CLASSES)] = Field(
        default_factory=lambda: ["person"],
        description="The classes of your detector that are persons.",
    )


class AnonymisationView(ResponseBody):
    hide: Hide
    cameras: dict[str, Hide] = Field(description="Single cameras, where they differ.")
    style: HideStyle
    keep_audio: bool
    classes: list[str]
    changed_at: str | None = Field(description="null: never.")
    changed_by: str | None


def _policy_view(stored: StoredAnonymisation | None) -> AnonymisationView:
    policy = stored.policy if stored is not None else AnonymisationPolicy()
    return AnonymisationView(
        **policy.model_dump(),
        changed_at=rfc3339(stored.changed_us) if stored is not None else None,
        changed_by=stored.changed_by if stored is not None else None,
    )


@router.get(
    "/v1/policies/anonymisation",
    dependencies=[needs(Permission.PRIVACY_MANAGE)],
    summary="Who is hidden in evidence",
)
async def get_policy(scope: TenantDep) -> AnonymisationView:
    return _policy_view(await scope.anonymisation.policy())


@router.put(
    "/v1/policies/anonymisation",
    dependencies=[needs(Permission.PRIVACY_MANAGE)],
    summary="Say who is hidden in evidence",
    responses=responses(400, 404, 413),
)
async def set_policy(
    body: NewAnonymisation, scope: TenantDep, note: AuditNoteDep
) -> AnonymisationView:
    """Replaces the policy as a whole. Applies at once, to everything that is stored: snapshots,
    clips and exports are anonymised when they are read. A camera that is named must be known, 404
    otherwise."""
    policy = AnonymisationPolicy(**body.model_dump())
    note.details |= {
        "hide": policy.hide,
        "cameras": [f"{name}={hide}" for name, hide in sorted(policy.cameras.items())][:MAX_NAMED],
        "style": policy.style,
        "keep_audio": policy.keep_audio,
        "classes": list(policy.classes),
    }
    before = await scope.anonymisation.policy()
    accepted = before.policy.cameras.keys() if before is not None else frozenset[str]()
    await scope.check_policy_cameras(policy.cameras.keys(), accepted)
    stored = await scope.anonymisation.set_policy(policy, scope.actor)
    note.committed = True
    return _policy_view(stored)


# ------------------------------------------------------------ reveals


class NewReveal(RequestBody):
    """An alarm; or an object; or a time of one camera."""

    alarm: UUID | None = Field(None, description="Its snapshot, and what its clip shows.")
    object: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="Track of an object: its picture. With `camera` where two have such one."
    )
    camera: Slug | None = Field(None, description="All its recordings and alarms of a time.")
    from_: AwareDatetime | None = Field(None, alias="from", description="Included.")
    to: AwareDatetime | None = Field(None, description="Included.")
    reason: Reason = Field(description="Goes to the audit log.", examples=["police report 118/26"])
    minutes: Annotated[int, Field(ge=1, le=MAX_MINUTES)] = DEFAULT_MINUTES

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        time = self.from_ is not None or self.to is not None
        if self.alarm is not None:
            if self.object is not None or self.camera is not None or time:
                raise ValueError("give `alarm` alone")
        elif self.object is not None:
            if time:
                raise ValueError("give `object` without a time")
        elif self.camera is None or self.from_ is None or self.to is None:
            raise ValueError("give `alarm`, `object`, or `camera` with `from` and `to`")
        elif self.to < self.from_:
            raise ValueError("`to` must not be before `from`")
        return self


class RevealView(ResponseBody):
    id: UUID
    camera: str
    since: str = Field(serialization_alias="from")
    until: str = Field(serialization_alias="to", description="Included.")
    alarm: UUID | None
    object: str | None = Field(description="Track; only its picture is shown.")
    reason: str
    created_at: str
    created_by: str = Field(description="Who sees originals; nobody else does.")
    expires_at: str
    ended_at: str | None = Field(description="When it was ended before its time.")
    ended_by: str | None
    active: bool


class RevealList(ResponseBody):
    reveals: list[RevealView]


def _reveal_view(reveal: Reveal, now_us: int) -> RevealView:
    return RevealView(
        id=reveal.id,
        camera=reveal.camera,
        since=rfc3339(reveal.from_us),
        until=rfc3339(reveal.to_us),
        alarm=reveal.alarm,
        object=reveal.track,
        reason=reveal.reason,
        created_at=rfc3339(reveal.created_us),
        created_by=reveal.created_by,
        expires_at=rfc3339(reveal.expires_us),
        ended_at=rfc3339_or_none(reveal.ended_us),
        ended_by=reveal.ended_by,
        active=reveal.is_active(now_us),
    )


@router.post(
    "/v1/reveals",
    dependencies=[needs(Permission.EVIDENCE_REVEAL)],
    status_code=201,
    summary="Show me originals for some minutes",
    responses=responses(400, 404, 409, 413) | CREATED,
)
async def reveal(
    body: NewReveal, scope: TenantDep, deps: DepsDep, response: Response, note: AuditNoteDep
) -> RevealView:
    """For whoever asks, and nobody else. Links that are given out meanwhile end with it."""
    note.details |= {"reason": body.reason, "minutes": body.minutes}
    camera, span = await _wanted(body, scope, deps)
    note.details |= {"camera": camera, "from": rfc3339(span[0]), "to": rfc3339(span[1])}
    note.details |= {"alarm": str(body.alarm)} if body.alarm is not None else {}
    note.details |= {"object": body.object} if body.object is not None else {}
    now_us = deps.clock.now_us()
    made = await scope.anonymisation.add_reveal(
        camera,
        span,
        body.reason,
        scope.actor,
        minutes=body.minutes,
        now_us=now_us,
        alarm=body.alarm,
        track=body.object,
    )
    note.committed = True
    response.headers["Location"] = f"/v1/reveals/{made.id}"
    return _reveal_view(made, now_us)


async def _wanted(
    body: NewReveal, scope: TenantScope, deps: DepsDep
) -> tuple[str, tuple[int, int]]:
    """Camera and capture times that are asked for. Raises NotFoundError, ConflictError,
    InputError."""
    if body.alarm is not None:
        alarm = await scope.alarm(body.alarm)
        kept = await recording_policy(scope, deps.settings.recording, alarm.camera)
        span = kept.span(alarm)
        return alarm.camera, (span.from_us, span.to_us)
    if body.object is not None:
        seen = (await scope.tracks.object(body.object, body.camera)).sighting
        return seen.camera, (seen.first_seen_us, seen.last_seen_us)
    assert body.camera is not None, "checked by the model"
    from_us, to_us = micros(body.from_) or 0, micros(body.to) or 0
    longest_s = deps.settings.api.export_max_s
    if to_us - from_us > longest_s * 1_000_000:
        raise InputError(
            f"a reveal shows at most {longest_s} s.", hint="Ask for it in several parts."
        )
    await scope.records.check_camera_known(body.camera)
    return body.camera, (from_us, to_us)


@router.get(
    "/v1/reveals",
    dependencies=[needs(Permission.PRIVACY_MANAGE)],
    summary="Who was shown originals, newest first",
)
async def list_reveals(scope: TenantDep, deps: DepsDep) -> RevealList:
    """Of the last 30 days, and 500 at most; the audit log has all of them."""
    now_us = deps.clock.now_us()
    return RevealList(
        reveals=[_reveal_view(r, now_us) for r in await scope.anonymisation.reveals()]
    )


@router.delete(
    "/v1/reveals/{reveal}",
    dependencies=[needs(Permission.EVIDENCE_REVEAL)],
    status_code=204,
    summary="End a reveal",
    responses=responses(404),
)
async def end_reveal(
    reveal: RevealPath, scope: TenantDep, deps: DepsDep, note: AuditNoteDep
) -> None:
    """Anybody's of the tenant. Again changes nothing."""
    await scope.anonymisation.end_reveal(reveal, scope.actor, deps.clock.now_us())
    note.committed = True
