"""`/v1/objects` and `/v1/tracks`: what was seen, when, and the way it took."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from cluster.core.roles import Permission
from cluster.stores.db import ObjectQuery, ObjectRecord
from pipelines.domain import PATH_SCALE, SLUG_PATTERN, AlarmSource, TrackPath
from serve.api.fields import (
    TRACK_PATTERN,
    LongPageCursor,
    Moment,
    NextCursor,
    ResponseBody,
    SightingFilterDep,
)
from serve.api.links import recording_address, snapshot_address
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import TenantDep
from serve.api.times import micros, rfc3339

router = APIRouter(
    tags=["objects"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.OBJECT_SEARCH)],
)

# An hour of one track, at five frames per second some 18,000 points and 1.5 MB of JSON.
MAX_PATHS = 720

TrackName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=255,
        pattern=TRACK_PATTERN,
        description="`track` of an object or match; encode its `%` as `%25`.",
    ),
]
CameraOfTrack = Annotated[
    str | None,
    Query(pattern=SLUG_PATTERN, description="Needed only where two cameras have such a track."),
]


class ObjectView(ResponseBody):
    camera: str
    track: str
    label: str = Field(serialization_alias="class", examples=["person"])
    colour: str | None = Field(description="What colour people would call it, if any.")
    confidence: float = Field(description="Of its best look.")
    box: tuple[float, float, float, float] = Field(
        description="Where it was then: x1, y1, x2, y2, each 0..1."
    )
    first_seen: str
    last_seen: str
    source: str = Field(description="`live`, or `batch` where it comes from a recording.")
    snapshot: str | None = Field(description="Address of its best picture.")
    recording: str = Field(description="Address of the recordings of its time.")


class ObjectList(ResponseBody):
    objects: list[ObjectView]
    next_cursor: NextCursor


class PointView(ResponseBody):
    at: str
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2, each 0..1.")


class TrackView(ObjectView):
    points: list[PointView]
    next_since: str | None = Field(
        description="Give it as `since` for the rest of a long path; null: this is the end."
    )


def _fields(record: ObjectRecord) -> dict[str, object]:
    seen = record.sighting
    return {
        "camera": seen.camera,
        "track": seen.track,
        "label": seen.label,
        "colour": seen.colour,
        "confidence": seen.confidence,
        "box": seen.box,
        "first_seen": rfc3339(seen.first_seen_us),
        "last_seen": rfc3339(seen.last_seen_us),
        "source": record.source.value,
        "snapshot": snapshot_address(seen.snapshot),
        "recording": recording_address(seen.camera, seen.first_seen_us, seen.last_seen_us),
    }


@router.get("/v1/objects", summary="List what was seen, newest first")
async def list_objects(
    scope: TenantDep,
    only: SightingFilterDep,
    source: AlarmSource | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: LongPageCursor = None,
) -> ObjectList:
    """In sight at or after `since`, and before `until`. In the order of first sight; keep the
    filters when you page on with a cursor."""
    page = await scope.tracks.objects(
        ObjectQuery(**only.model_dump(), source=source, limit=limit, cursor=cursor)
    )
    return ObjectList(
        objects=[ObjectView.model_validate(_fields(record)) for record in page.items],
        next_cursor=page.next_cursor,
    )


@router.get("/v1/objects/{track}", summary="One object", responses=responses(404, 409))
async def get_object(
    track: TrackName, scope: TenantDep, camera: CameraOfTrack = None
) -> ObjectView:
    """All that is known of it, but for its way: see `/v1/tracks/{track}`."""
    record = await scope.tracks.object(track, camera)
    return ObjectView.model_validate(_fields(record))


@router.get("/v1/tracks/{track}", summary="The way of one object", responses=responses(404, 409))
async def get_track(
    track: TrackName,
    scope: TenantDep,
    camera: CameraOfTrack = None,
    since: Annotated[Moment, Query(description="Leave out what was before.")] = None,
) -> TrackView:
    """The object with each of its boxes, oldest first. What is in sight now appears some seconds
    later."""
    record = await scope.tracks.object(track, camera)
    since_us = micros(since) or 0
    paths = await scope.tracks.trajectory(
        record.sighting.camera, record.sighting.track, since_us=since_us, limit=MAX_PATHS + 1
    )
    more = len(paths) > MAX_PATHS
    return TrackView.model_validate(
        _fields(record)
        | {
            "points": [point for path in paths[:MAX_PATHS] for point in _points(path, since_us)],
            "next_since": rfc3339(paths[MAX_PATHS].start_us) if more else None,
        }
    )


def _points(path: TrackPath, since_us: int) -> list[PointView]:
    return [
        PointView(
            at=rfc3339(at_us),
            box=(x1 / PATH_SCALE, y1 / PATH_SCALE, x2 / PATH_SCALE, y2 / PATH_SCALE),
        )
        for at_ms, x1, y1, x2, y2 in path.points
        if (at_us := path.start_us + at_ms * 1_000) >= since_us
    ]
