"""`/v1/analytics`: how many objects came in each hour, and where in the picture they stood."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import Field

from cluster.core.roles import Permission
from pipelines.analytics import HeatMap, per_hour
from pipelines.domain import SLUG_PATTERN
from pipelines.errors import InputError
from pipelines.times import zone_named
from serve.api.fields import CameraFilter, ClassFilter, DayBefore, ResponseBody, UntilNow
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import TenantDep
from serve.api.state import DepsDep
from serve.api.times import DAY_US, micros_between, rfc3339

router = APIRouter(
    tags=["analytics"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.ANALYTICS_READ)],
)

MAX_RANGE_US = 92 * DAY_US
# A camera with ten objects in sight all day fills 170,000.
MAX_HEAT_PATHS = 250_000
# A page stops this process' other requests for some milliseconds.
HEAT_PAGE = 250


class HourCount(ResponseBody):
    hour: str = Field(
        description="Its start, with the offset of the time zone.",
        examples=["2026-01-31T08:00:00+01:00"],
    )
    camera: str
    label: str = Field(serialization_alias="class")
    count: int = Field(description="Objects that came into sight within it.")


class Counts(ResponseBody):
    tz: str
    since: str
    until: str
    counts: list[HourCount] = Field(description="Hours with any, oldest first.")


class Heat(ResponseBody):
    camera: str
    since: str
    until: str
    columns: int
    rows: int
    seconds: list[list[float]] = Field(
        description="For each row from the top, for each column from the left: how long objects "
        "stood there, by the middle of the lower edge of their boxes. Two objects count twice."
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return zone_named(name)
    except ValueError:
        raise InputError(
            "`tz` is not a time zone.", hint="Use an IANA name, like Europe/Lisbon."
        ) from None


@router.get(
    "/v1/analytics/counts",
    summary="Objects per hour, camera and class",
    responses=responses(404),
)
async def counts(
    scope: TenantDep,
    deps: DepsDep,
    camera: CameraFilter = None,
    label: ClassFilter = None,
    since: DayBefore = None,
    until: UntilNow = None,
    tz: Annotated[
        str, Query(max_length=64, description="IANA time zone whose hours are meant.")
    ] = "UTC",
) -> Counts:
    """An object counts in the hour in which it came into sight. 404: there is no such camera, and
    never was one of which anything is kept."""
    since_us, until_us = micros_between(since, until, deps.clock.now_us(), MAX_RANGE_US)
    zone = _zone(tz)
    if camera is not None:
        await scope.records.check_camera_known(camera)
    async with scope.heavy_read():
        slots = await scope.tracks.counts(since_us, until_us, camera=camera, label=label)
    hours = per_hour([(s.start_us, s.camera, s.label, s.count) for s in slots], zone)
    return Counts(
        tz=tz,
        since=rfc3339(since_us),
        until=rfc3339(until_us),
        counts=[
            HourCount(hour=start.isoformat(), camera=camera, label=label, count=count)
            for start, camera, label, count in hours
        ],
    )


@router.get(
    "/v1/analytics/heatmap",
    summary="Where objects stood, and how long",
    responses=responses(404),
)
async def heatmap(
    scope: TenantDep,
    deps: DepsDep,
    camera: Annotated[str, Query(pattern=SLUG_PATTERN)],
    label: ClassFilter = None,
    since: DayBefore = None,
    until: UntilNow = None,
    grid: Annotated[
        str,
        Query(pattern=r"^[1-9][0-9]{0,2}x[1-9][0-9]{0,2}$", description="Columns x rows."),
    ] = "32x18",
) -> Heat:
    """Weighted by time: a point of a track counts until its next one, for two seconds at most. 404
    as for counts."""
    since_us, until_us = micros_between(since, until, deps.clock.now_us(), MAX_RANGE_US)
    await scope.records.check_camera_known(camera)
    columns, rows = (int(side) for side in grid.split("x"))
    heat = HeatMap(columns, rows, since_us, until_us)
    read = 0
    async with scope.heavy_read():
        pages = scope.tracks.path_points(camera, since_us, until_us, label=label, size=HEAT_PAGE)
        async for page in pages:
            read += len(page)
            if read > MAX_HEAT_PATHS:
                raise InputError(
                    f"More than {MAX_HEAT_PATHS:,} paths lie in this time.",
                    hint="Ask for less of it.",
                )
            heat.add(page)
    return Heat(
        camera=camera,
        since=rfc3339(since_us),
        until=rfc3339(until_us),
        columns=columns,
        rows=rows,
        seconds=[[round(cell, 3) for cell in row] for row in heat.seconds().tolist()],
    )
