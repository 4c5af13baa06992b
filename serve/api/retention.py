"""`/v1/policies/retention`, `/v1/holds`, `/v1/compliance`: what is kept, for how long, and what was
removed."""

from __future__ import annotations

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, Field, model_validator

from cluster.core.roles import Permission
from cluster.stores.db import HoldRecord, RetentionRun, StoredPolicy
from pipelines.domain import Slug
from pipelines.errors import InputError
from pipelines.retention import (
    MAX_CAMERAS,
    Days,
    HeldSpan,
    Limits,
    PlatformLimits,
    Retention,
    RetentionKind,
    RetentionPolicy,
    SpaceState,
    around_alarm,
)
from serve.api.audit.note import MAX_NAMED, AuditNote, AuditNoteDep
from serve.api.erasures import ErasureSummary, summary_of
from serve.api.fields import CREATED, Remark, RequestBody, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.scope import TenantDep, TenantScope
from serve.api.state import DepsDep
from serve.api.times import micros, rfc3339, rfc3339_or_none

router = APIRouter(
    tags=["retention"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.PRIVACY_MANAGE)],
)

RUNS_SHOWN = 20

HoldPath = Annotated[UUID, Path(description="Id of the hold.")]

# ------------------------------------------------------------ policy


class NewPolicy(RequestBody):
    """Days by kind; null: without end. What is left out has the limit of the platform."""

    days: Limits = Field(
        default_factory=dict,
        description="Of all cameras.",
        examples=[{"recordings": 30, "alarms": 365, "paths": 90}],
    )
    cameras: Annotated[dict[Slug, Limits], Field(max_length=MAX_CAMERAS)] = Field(
        default_factory=dict,
        description="Of single cameras, where they differ.",
        examples=[{"gate": {"recordings": 7}}],
    )


class PlatformLimitsView(ResponseBody):
    default: dict[RetentionKind, Days | None] = Field(description="Where the policy says nothing.")
    least: dict[RetentionKind, Days | None] = Field(
        description="The least that may be chosen, for a kind and what goes with it."
    )
    most: dict[RetentionKind, Days | None] = Field(description="The most that may be chosen.")


class PolicyView(ResponseBody):
    days: dict[RetentionKind, Days | None] = Field(description="As it was set.")
    cameras: dict[str, dict[RetentionKind, Days | None]] = Field(description="As they were set.")
    effective: dict[RetentionKind, Days | None] = Field(
        description="What applies to cameras without limits of their own: within the platform's "
        "bounds, and clips no longer than alarms, embeddings no longer than objects. null: without "
        "end."
    )
    platform: PlatformLimitsView
    audit: str = Field(description="The audit log, which is always kept.", examples=["kept"])
    changed_at: str | None = Field(description="null: never.")
    changed_by: str | None


def _policy_view(stored: StoredPolicy | None, platform: PlatformLimits) -> PolicyView:
    policy = stored.policy if stored is not None else RetentionPolicy()
    applies = Retention(policy, platform)
    return PolicyView(
        days=policy.days,
        cameras=policy.cameras,
        effective={kind: applies.days(kind) for kind in RetentionKind},
        platform=PlatformLimitsView(
            default=platform.default,
            least={k: days for k in RetentionKind if (days := platform.least_of(k)) is not None},
            most=platform.most,
        ),
        audit="kept",
        changed_at=rfc3339(stored.changed_us) if stored is not None else None,
        changed_by=stored.changed_by if stored is not None else None,
    )


@router.get("/v1/policies/retention", summary="How long things are kept")
async def get_policy(scope: TenantDep, deps: DepsDep) -> PolicyView:
    return _policy_view(await scope.retention.policy(), deps.settings.retention.limits)


@router.put(
    "/v1/policies/retention",
    summary="Say how long things are kept",
    responses=responses(400, 404, 413),
)
async def set_policy(
    body: NewPolicy, scope: TenantDep, deps: DepsDep, note: AuditNoteDep
) -> PolicyView:
    """Replaces the policy as a whole. Applies from the next run on, within minutes; what a shorter
    limit removes cannot be brought back. A camera that is named must be known, 404 otherwise."""
    policy = RetentionPolicy(days=body.days, cameras=body.cameras)
    _note_policy(note, policy)
    limits = deps.settings.retention.limits
    limits.check(policy)
    before = await scope.retention.policy()
    accepted = before.policy.cameras.keys() if before is not None else frozenset[str]()
    await scope.check_policy_cameras(policy.cameras.keys(), accepted)
    stored = await scope.retention.set_policy(policy, scope.actor)
    note.committed = True
    return _policy_view(stored, limits)


def _note_policy(note: AuditNote, policy: RetentionPolicy) -> None:
    named = [f"{kind.value}={_in_words(days)}" for kind, days in sorted(policy.days.items())]
    note.details |= {"days": named, "cameras": sorted(policy.cameras)[:MAX_NAMED]}


def _in_words(days: Days | None) -> str:
    return "without end" if days is None else f"{days:g}"


# ------------------------------------------------------------ holds


class NewHold(RequestBody):
    """Either an alarm, or a time: of one camera, or of all."""

    alarm: UUID | None = Field(
        None, description="Holds its camera from 60 s before to 300 s after it."
    )
    camera: Slug | None = Field(None, description="Left out: every camera.")
    from_: AwareDatetime | None = Field(None, alias="from", description="Included.")
    to: AwareDatetime | None = Field(None, description="Included.")
    reason: Remark = Field("", description="Needed for a time.", examples=["case 2026/118"])

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.alarm is not None:
            if self.camera is not None or self.from_ is not None or self.to is not None:
                raise ValueError("give `alarm`, or `from` and `to`, not both")
            return self
        if self.from_ is None or self.to is None:
            raise ValueError("give `alarm`, or `from` and `to`")
        if self.to < self.from_:
            raise ValueError("`to` must not be before `from`")
        if not self.reason:
            raise ValueError("say why in `reason`")
        return self


class HoldView(ResponseBody):
    id: UUID
    camera: str | None = Field(description="null: every camera.")
    since: str = Field(serialization_alias="from")
    until: str = Field(serialization_alias="to", description="Included.")
    alarm: UUID | None = Field(description="The alarm around which it was set.")
    reason: str
    created_at: str
    created_by: str
    released_at: str | None = Field(description="null: it holds.")
    released_by: str | None


class HoldList(ResponseBody):
    holds: list[HoldView]


def _hold_view(hold: HoldRecord) -> HoldView:
    released_us = hold.released_us
    return HoldView(
        id=hold.id,
        camera=hold.camera,
        since=rfc3339(hold.span.from_us),
        until=rfc3339(hold.span.to_us),
        alarm=hold.alarm,
        reason=hold.reason,
        created_at=rfc3339(hold.created_us),
        created_by=hold.created_by,
        released_at=rfc3339_or_none(released_us),
        released_by=hold.released_by,
    )


@router.post(
    "/v1/holds",
    status_code=201,
    summary="Hold what would be removed",
    responses=responses(400, 404, 409, 413) | CREATED,
)
async def add_hold(
    body: NewHold, scope: TenantDep, response: Response, note: AuditNoteDep
) -> HoldView:
    """Keeps everything that touches the time, of every kind, whatever policy or a full disk say,
    until the hold is removed. What is being removed at this very moment may still go."""
    span = await _span(body, scope)
    note.details |= {
        "camera": span.camera,
        "from": rfc3339(span.from_us),
        "to": rfc3339(span.to_us),
        "alarm": str(body.alarm) if body.alarm is not None else None,
    }
    hold = await scope.retention.add_hold(span, body.reason, scope.actor, alarm=body.alarm)
    note.committed = True
    response.headers["Location"] = f"/v1/holds/{hold.id}"
    return _hold_view(hold)


async def _span(body: NewHold, scope: TenantScope) -> HeldSpan:
    """Raises NotFoundError: there is no such alarm or camera."""
    if body.alarm is not None:
        alarm = await scope.alarm(body.alarm)
        return HeldSpan(alarm.camera, *around_alarm(alarm.capture_us))
    if body.camera is not None:
        await scope.records.check_camera_known(body.camera)
    from_us, to_us = micros(body.from_), micros(body.to)
    if from_us is None or to_us is None:
        raise InputError("a hold has a beginning and an end.")
    return HeldSpan(body.camera, from_us, to_us)


@router.get("/v1/holds", summary="List holds, newest first")
async def list_holds(
    scope: TenantDep,
    released: Annotated[bool, Query(description="Also those that hold no more.")] = False,
) -> HoldList:
    return HoldList(holds=[_hold_view(h) for h in await scope.retention.holds(released=released)])


@router.get("/v1/holds/{hold}", summary="One hold", responses=responses(404))
async def get_hold(hold: HoldPath, scope: TenantDep) -> HoldView:
    return _hold_view(await scope.retention.hold(hold))


@router.delete(
    "/v1/holds/{hold}", status_code=204, summary="Remove a hold", responses=responses(404)
)
async def remove_hold(hold: HoldPath, scope: TenantDep, note: AuditNoteDep) -> None:
    """From now on policy applies again. The hold stays in the list of released ones; to remove it
    again changes nothing."""
    await scope.retention.release_hold(hold, scope.actor)
    note.committed = True


# ------------------------------------------------------------ compliance


class KindCountView(ResponseBody):
    kind: RetentionKind
    cause: str = Field(
        description="`age`; `space`: the disk was above its mark; `quota`: the tenant used more of "
        "the storage than it may."
    )
    removed: int
    bytes: int = Field(description="Of their files.")
    failures: int = Field(description="Things that stay until the next run.")


class RunView(ResponseBody):
    started_at: str
    ended_at: str
    complete: bool = Field(description="Nothing that should have gone is left.")
    space: SpaceState = Field(
        description="`removing`: what policy would keep is removed to make space. `exhausted`: "
        "there is nothing left that may be removed."
    )
    counts: list[KindCountView]
    error: str | None = Field(description="The last failure.")


class KeptView(ResponseBody):
    count: int | None = Field(description="null: too many to count.")
    oldest_at: str | None = Field(description="null: there is nothing.")


class ComplianceView(ResponseBody):
    policy: PolicyView
    holds: list[HoldView] = Field(description="Those that hold, newest first.")
    runs: list[RunView] = Field(
        description=f"The last {RUNS_SHOWN} that had something to do, newest first, and the last "
        "one. The audit log has all of them."
    )
    erasures: list[ErasureSummary] = Field(
        description=f"On request: the last {RUNS_SHOWN}, newest first."
    )
    kept: dict[RetentionKind, KeptView] = Field(
        description="What there is now, of the kinds that have rows."
    )
    storage: StorageView | None = Field(description="null: not measured yet.")


class StorageView(ResponseBody):
    used: int = Field(description="Bytes.")
    limit: int = Field(description="Bytes; the quota `storage-bytes`.")
    state: SpaceState = Field(
        description="`removing`: the oldest recordings were removed to stay within the limit. "
        "`exhausted`: it is passed, and there is nothing left that may be removed; what would make "
        "files is refused."
    )
    measured_at: str


async def _storage(scope: TenantScope) -> StorageView | None:
    use = await scope.retention.storage()
    if use is None:
        return None
    return StorageView(
        used=use.total,
        limit=await scope.quotas.limit(Quota.STORAGE_BYTES),
        state=use.state,
        measured_at=rfc3339(use.measured_us),
    )


def _run_view(run: RetentionRun) -> RunView:
    return RunView(
        started_at=rfc3339(run.started_us),
        ended_at=rfc3339(run.ended_us),
        complete=run.complete,
        space=run.space,
        counts=[KindCountView.model_validate(count.model_dump()) for count in run.counts],
        error=run.error or None,
    )


@router.get("/v1/compliance", summary="What is kept, what was removed, what is held")
async def get_compliance(scope: TenantDep, deps: DepsDep) -> ComplianceView:
    retention, kept = scope.retention, {}
    for kind in RetentionKind:
        if (found := await retention.kept(kind)) is not None:
            oldest_us = found.oldest_us
            oldest_at = rfc3339_or_none(oldest_us)
            kept[kind] = KeptView(count=found.count, oldest_at=oldest_at)
    return ComplianceView(
        policy=_policy_view(await retention.policy(), deps.settings.retention.limits),
        holds=[_hold_view(hold) for hold in await retention.holds()],
        runs=[_run_view(run) for run in await retention.runs(RUNS_SHOWN)],
        erasures=[summary_of(one) for one in await scope.erasures.erasures(RUNS_SHOWN)],
        kept=kept,
        storage=await _storage(scope),
    )
