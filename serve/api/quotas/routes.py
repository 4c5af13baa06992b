"""`/v1/quotas`: what a tenant and its key may use, and what they do use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from cluster.core.rates import Use
from serve.api.fields import ResponseBody
from serve.api.problems import responses
from serve.api.quotas.limits import Limits, Quota
from serve.api.quotas.quotas import PER_KEY, Window
from serve.api.scope import TenantDep, TenantScope
from serve.api.state import ApiState, StateDep

router = APIRouter(tags=["quotas"], responses=responses(401, 403, 422, 429, 503))

ANALYSED = "analysed-frames-per-second"


class QuotaView(ResponseBody):
    name: str = Field(examples=["requests"])
    kind: Literal["rate", "at-once", "count"] = Field(
        description="`rate`: in any window of time, through all replicas; `at-once`: under way in "
        "the replica that answers; `count`: what there is."
    )
    scope: Literal["tenant", "key"] = Field(description="Whose use this is.")
    limit: int | None = Field(description="Null: it is only shown.")
    used: float = Field(description="Of `rules-per-camera`: by the camera with most.")
    window_s: float | None = Field(None, description="Of a rate.")
    reset_s: int | None = Field(
        None, description="Of a rate: seconds until some of what is used comes back."
    )


class QuotaList(ResponseBody):
    quotas: list[QuotaView]


@router.get("/v1/quotas", summary="What you may use, and what you do")
async def list_quotas(scope: TenantDep, state: StateDep) -> QuotaList:
    """Asking counts as a request. Without Redis, rates are those of the replica that answers."""
    limits = await scope.quotas.limits()
    rates = [_rate(window, use) for window, use in await scope.quotas.rates(limits)]
    at_once = list(_at_once(scope, state, limits))
    return QuotaList(quotas=[*rates, *at_once, *await _counts(scope, limits)])


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
        Quota.CLIPS: scope.quotas.clips_in_the_making(state.evidence.clips),
    }
    for quota, count in used.items():
        yield QuotaView(name=quota, kind="at-once", scope="tenant", limit=limits[quota], used=count)


async def _counts(scope: TenantScope, limits: Limits) -> list[QuotaView]:
    counts = await scope.records.counts()
    used = {
        Quota.CAMERAS: counts.cameras,
        Quota.RULES: counts.rules,
        Quota.RULES_PER_CAMERA: counts.most_rules,
        Quota.JOBS: len(await scope.jobs.under_way()),
    }
    views = [
        QuotaView(name=quota, kind="count", scope="tenant", limit=limits[quota], used=count)
        for quota, count in used.items()
    ]
    frames = QuotaView(
        name=ANALYSED, kind="count", scope="tenant", limit=None, used=round(counts.detect_fps, 3)
    )
    return [*views, frames]
