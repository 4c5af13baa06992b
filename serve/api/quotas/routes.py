"""`/v1/quotas`: what a tenant and its key may use, and what they do; and the limits that the
platform gives one tenant alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from cluster.core.rates import Use
from cluster.core.roles import Permission
from pipelines.domain import SLUG_PATTERN
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import RequestBody, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Limits, Quota
from serve.api.quotas.quotas import PER_KEY, Window
from serve.api.scope import PlatformDep, TenantDep, TenantScope
from serve.api.state import ApiState, StateDep

router = APIRouter(tags=["quotas"], responses=responses(401, 403, 422, 429, 503))


class QuotaView(ResponseBody):
    name: str = Field(examples=["requests"])
    kind: Literal["rate", "at-once", "count"] = Field(
        description="`rate`: in any window of time, through all replicas; `at-once`: under way in "
        "the replica that answers; `count`: what there is."
    )
    scope: Literal["tenant", "key"] = Field(description="Whose use this is.")
    limit: int
    used: float = Field(
        description="Of `rules-per-camera`: by the camera with most. Of `storage-bytes`: when "
        "retention last measured it. Of `analysed-frames-per-second`: by enabled cameras."
    )
    window_s: float | None = Field(None, description="Of a rate.")
    reset_s: int | None = Field(
        None, description="Of a rate: seconds until some of what is used comes back."
    )


class QuotaList(ResponseBody):
    quotas: list[QuotaView]


@router.get(
    "/v1/quotas",
    dependencies=[needs(Permission.QUOTA_READ)],
    summary="What you may use, and what you do",
)
async def list_quotas(scope: TenantDep, state: StateDep) -> QuotaList:
    """Asking counts as a request. Without Redis, rates are those of the replica that answers."""
    limits = await scope.quotas.limits()
    rates = [_rate(window, use) for window, use in await scope.quotas.rates(limits)]
    at_once = list(_at_once(scope, state, limits))
    return QuotaList(quotas=[*rates, *at_once, *await _counts(scope, limits)])


TenantPath = Annotated[str, Path(pattern=SLUG_PATTERN, examples=["acme"])]
Amount = Annotated[
    int,
    Field(
        strict=True, ge=1, le=10**15, description="Bytes, of `upload-bytes` and `storage-bytes`."
    ),
]


class OwnQuotas(RequestBody):
    quotas: dict[Quota, Amount] = Field(
        description="Only what differs from the limits of all; `{}`: nothing.",
        examples=[{"cameras": 5_000}],
    )


class TenantQuotasView(ResponseBody):
    own: dict[str, int] = Field(description="What this tenant has in place of the limits of all.")
    limits: dict[Quota, int] = Field(description="What holds for it.")


def _own_view(own: dict[str, int], state: ApiState) -> TenantQuotasView:
    return TenantQuotasView(own=own, limits=dict(state.quotas.of_tenants.with_own(own)))


@router.get(
    "/v1/tenants/{tenant}/quotas",
    dependencies=[needs(Permission.TENANT_MANAGE)],
    summary="What a tenant may use",
    responses=responses(404),
)
async def tenant_quotas(
    tenant: TenantPath, platform: PlatformDep, state: StateDep
) -> TenantQuotasView:
    return _own_view(await platform.quotas(tenant), state)


@router.put(
    "/v1/tenants/{tenant}/quotas",
    dependencies=[needs(Permission.TENANT_MANAGE)],
    summary="Give a tenant limits of its own",
    responses=responses(400, 404, 413),
)
async def set_tenant_quotas(
    tenant: TenantPath,
    body: OwnQuotas,
    platform: PlatformDep,
    state: StateDep,
    note: AuditNoteDep,
) -> TenantQuotasView:
    """Replaces all that it had of its own. Holds in every replica within ten seconds."""
    own = {str(quota): amount for quota, amount in body.quotas.items()}
    note.details |= own
    await platform.set_quotas(tenant, own)
    note.committed = True
    note.tenants.add(tenant)
    state.quotas.of_tenants.forget(tenant)
    return _own_view(own, state)


def _rate(window: Window, use: Use) -> QuotaView:
    return QuotaView(
        name=window.quota,
        kind="rate",
        scope="key" if window.name.endswith(PER_KEY) else "tenant",
        limit=window.charge.rate.amount,
        used=use.used,
        window_s=window.charge.rate.window_s,
        reset_s=math.ceil(use.reset_s),
    )


def _at_once(scope: TenantScope, state: ApiState, limits: Limits) -> Iterator[QuotaView]:
    used = {
        Quota.CONCURRENT_REQUESTS: scope.quotas.under_way(),
        Quota.EVENT_STREAMS: scope.alarm_feed.listeners(),
        Quota.EXPORTS: scope.quotas.held(state.evidence.exports),
        Quota.CLIPS: scope.quotas.clips_in_the_making(state.evidence.clips)
        + scope.quotas.clips_in_the_making(state.evidence.anonymous),
    }
    for quota, count in used.items():
        yield QuotaView(name=quota, kind="at-once", scope="tenant", limit=limits[quota], used=count)


async def _counts(scope: TenantScope, limits: Limits) -> list[QuotaView]:
    counts, storage = await scope.records.counts(), await scope.retention.storage()
    used = {
        Quota.CAMERAS: counts.cameras,
        Quota.RULES: counts.rules,
        Quota.RULES_PER_CAMERA: counts.most_rules,
        Quota.JOBS: len(await scope.jobs.under_way()),
        # What is wanted beyond the limit is not analysed.
        Quota.ANALYSED_FRAMES: min(round(counts.detect_fps, 3), limits[Quota.ANALYSED_FRAMES]),
        Quota.STORAGE_BYTES: storage.total if storage is not None else 0,
    }
    return [
        QuotaView(name=quota, kind="count", scope="tenant", limit=limits[quota], used=count)
        for quota, count in used.items()
    ]
