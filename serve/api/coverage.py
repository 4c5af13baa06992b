"""`/v1/coverage`: how long cameras were analysed, how long they were blind, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from cluster.core.roles import Permission
from cluster.stores.db import CoverTotal, Gap
from pipelines.ledger import SLOT_US, Cover, Stretch, slot_of
from serve.api.fields import (
    CameraFilter,
    DayBefore,
    NextCursor,
    PageCursor,
    ResponseBody,
    UntilNow,
)
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import TenantDep
from serve.api.state import DepsDep
from serve.api.times import DAY_US, LAST_US, micros_between, rfc3339

router = APIRouter(
    tags=["coverage"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.CAMERA_READ)],
)

# A quarter of an hour of a camera is a row: 8,832 rows of one, or 672,000 of a thousand.
MAX_RANGE_US, MAX_RANGE_OF_ALL_US = 92 * DAY_US, 7 * DAY_US
# What is younger may still be on its way to the records, which are written every 15 s.
SETTLED_US = 60_000_000


class CoverageView(ResponseBody):
    """Seconds of one camera."""

    camera: str
    expected_s: float = Field(description="Analysed and blind together.")
    analysed_s: float
    blind_s: float = Field(description="It should have been analysed, and was not.")
    off_s: float = Field(description="Its tenant had switched it off.")
    causes: dict[Cover, float] = Field(description="The blind seconds by cause.")


class GapView(ResponseBody):
    camera: str
    cause: Cover
    since: str
    until: str = Field(description="Exclusive.")


class Coverage(ResponseBody):
    since: str
    until: str
    cameras: list[CoverageView] = Field(description="Totals of the whole time, on every page.")
    gaps: list[GapView] = Field(
        description="When cameras were blind: camera by camera, oldest first."
    )
    next_cursor: NextCursor


def _tails(last: Mapping[str, Stretch], since_us: int, until_us: int, now_us: int) -> list[Gap]:
    """The time since nobody has looked after a camera any more: of that nobody writes."""
    end_us = min(until_us, now_us)
    return [
        Gap(camera, max(since_us, known.end_us), end_us, Cover.UNOBSERVED)
        for camera, known in sorted(last.items())
        if known.cover is not Cover.OFF
        and now_us - known.end_us > SETTLED_US
        and max(since_us, known.end_us) < end_us
    ]


def _views(totals: Iterable[CoverTotal], tails: Iterable[Gap]) -> list[CoverageView]:
    spent: dict[str, dict[Cover, float]] = {}
    for camera, cover, total_ms in totals:
        spent.setdefault(camera, {})[cover] = total_ms / 1e3
    for camera, start_us, end_us, cover in tails:
        of_camera = spent.setdefault(camera, {})
        of_camera[cover] = of_camera.get(cover, 0.0) + (end_us - start_us) / 1e6
    views = []
    for camera, seconds in sorted(spent.items()):
        causes = {cover: round(s, 3) for cover, s in sorted(seconds.items()) if cover.blind}
        analysed_s, blind_s = seconds.get(Cover.ANALYSED, 0.0), sum(causes.values())
        views.append(
            CoverageView(
                camera=camera,
                expected_s=round(analysed_s + blind_s, 3),
                analysed_s=round(analysed_s, 3),
                blind_s=round(blind_s, 3),
                off_s=round(seconds.get(Cover.OFF, 0.0), 3),
                causes=causes,
            )
        )
    return views


@router.get(
    "/v1/coverage",
    summary="How long cameras were analysed and blind, and why",
    responses=responses(404),
)
async def coverage(
    scope: TenantDep,
    deps: DepsDep,
    camera: CameraFilter = None,
    since: DayBefore = None,
    until: UntilNow = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Gaps of one page.")] = 200,
    cursor: PageCursor = None,
) -> Coverage:
    """`since` and `until` are widened to whole quarters of an hour (UTC). What is kept is up to 15
    seconds old. 404: there is no such camera."""
    longest_us = MAX_RANGE_OF_ALL_US if camera is None else MAX_RANGE_US
    since_us, until_us = micros_between(
        since, until, deps.clock.now_us(), longest_us, "Ask for less of it, or for one camera."
    )
    since_us, until_us = slot_of(since_us), min(slot_of(until_us - 1) + SLOT_US, LAST_US)
    if camera is not None:
        await scope.records.check_camera_known(camera)
    kept = scope.coverage
    async with scope.heavy_read():
        page = await kept.gaps(since_us, until_us, camera, limit=limit, cursor=cursor)
        totals = await kept.totals(since_us, until_us, camera)
        last = await kept.last(camera)
    tails = _tails(last, since_us, until_us, deps.clock.now_us())
    gaps = page.items if page.next_cursor else [*page.items, *tails]
    return Coverage(
        since=rfc3339(since_us),
        until=rfc3339(until_us),
        cameras=_views(totals, tails),
        gaps=[
            GapView(
                camera=g.camera, cause=g.cover, since=rfc3339(g.start_us), until=rfc3339(g.end_us)
            )
            for g in gaps
        ],
        next_cursor=page.next_cursor,
    )
