"""`/v1/recordings`: what was recorded, and a stretch of it as one file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import groupby
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AwareDatetime, Field

from cluster.clips.coverage import Span, covered
from cluster.clips.exports import make_export, manifest_key
from cluster.clips.manifest import Manifest
from cluster.clips.stitch import Stitched
from cluster.core.roles import Permission
from pipelines.domain import SLUG_PATTERN, Segment
from pipelines.errors import InputError
from serve.api.before_mask import ClosedFootageDep
from serve.api.fields import NextCursor, PageCursor, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.ranges import RangedFile
from serve.api.scope import TenantDep
from serve.api.state import StateDep
from serve.api.times import micros, rfc3339

router = APIRouter(
    tags=["recordings"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.RECORDING_EXPORT)],
)

# An hour of segments of ten seconds is 360; more than this is no sensible range.
MAX_SOURCES = 5_000

_SINCE = Query(alias="from", description="RFC 3339, inclusive.", examples=["2026-01-31T08:00:00Z"])
_UNTIL = Query(alias="to", description="RFC 3339, exclusive.", examples=["2026-01-31T08:10:00Z"])
Since = Annotated[AwareDatetime, _SINCE]
Until = Annotated[AwareDatetime, _UNTIL]
SinceAny = Annotated[AwareDatetime | None, _SINCE]
UntilAny = Annotated[AwareDatetime | None, _UNTIL]

# The year 2255; a number of JavaScript still holds it.
ENDLESS_US = 2**53
CameraQuery = Annotated[str, Query(pattern=SLUG_PATTERN, examples=["gate"])]


class SpanView(ResponseBody):
    """A stretch of time, RFC 3339; `to` is exclusive."""

    since: str = Field(serialization_alias="from")
    until: str = Field(serialization_alias="to")


class CameraSpan(SpanView):
    camera: str


class SegmentView(SpanView):
    camera: str
    codec: str = Field(description="As libav names it.", examples=["h264"])
    width: int
    height: int
    frames: int
    size: int = Field(description="Bytes.")
    sha256: str
    masked: bool = Field(description="Whether privacy masks are painted into the pictures.")
    audio: str | None = Field(description="Codec of the sound; null where there is none.")
    note: str
    url: str = Field(description="Signed address of the file; it works for some minutes.")


class Timeline(ResponseBody):
    segments: list[SegmentView]
    spans: list[CameraSpan] = Field(description="The segments of this page, merged, per camera.")
    left_out: int = Field(
        description="Segments of this page that were recorded before their camera had privacy "
        "masks, and that your role may not see."
    )
    next_cursor: NextCursor


def span_view(span: Span) -> SpanView:
    return SpanView(since=rfc3339(span.from_us), until=rfc3339(span.to_us))


def asked_range(since: datetime | None, until: datetime | None) -> Span:
    """Without a bound it reaches as far as there are recordings. Raises InputError: it is empty."""
    to_us = micros(until)
    span = Span(micros(since) or 0, ENDLESS_US if to_us is None else to_us)
    if span.to_us <= span.from_us:
        raise InputError("`to` must be later than `from`.")
    return span


@router.get("/v1/recordings", summary="What was recorded, oldest first")
async def list_recordings(
    scope: TenantDep,
    since: SinceAny = None,
    until: UntilAny = None,
    camera: Annotated[str | None, Query(pattern=SLUG_PATTERN)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    cursor: PageCursor = None,
    *,
    closed: ClosedFootageDep,
) -> Timeline:
    """Every segment that holds any of the range. Keep the filters when you page on."""
    span = asked_range(since, until)
    found, following = await scope.recordings.page(
        camera, span.from_us, span.to_us, limit=limit, cursor=cursor
    )
    segments = [segment for segment in found if not closed.holds(segment)]

    def view(segment: Segment) -> SegmentView:
        return SegmentView(
            camera=segment.camera,
            since=rfc3339(segment.start_us),
            until=rfc3339(segment.end_us),
            codec=segment.codec,
            width=segment.width,
            height=segment.height,
            frames=segment.frames,
            size=segment.size,
            sha256=segment.sha256,
            masked=segment.masked,
            audio=segment.audio,
            note=segment.note,
            url=scope.links.link(segment.blob, "video/mp4"),
        )

    return Timeline(
        segments=[view(segment) for segment in segments],
        spans=_spans(segments),
        left_out=len(found) - len(segments),
        next_cursor=following,
    )


def _spans(segments: list[Segment]) -> list[CameraSpan]:
    by_camera = sorted(segments, key=lambda segment: segment.camera)
    return [
        CameraSpan(camera=camera, since=rfc3339(span.from_us), until=rfc3339(span.to_us))
        for camera, its in groupby(by_camera, key=lambda segment: segment.camera)
        for span in covered(its)
    ]


async def exported(
    state: StateDep,
    scope: TenantDep,
    camera: CameraQuery,
    since: Since,
    until: Until,
    closed: ClosedFootageDep,
) -> AsyncIterator[tuple[Stitched, Manifest]]:
    """A finished export, on disk for as long as the answer is being sent."""
    span = asked_range(since, until)
    evidence, deps = state.evidence, state.deps
    longest_s = deps.settings.api.export_max_s
    if span.to_us - span.from_us > longest_s * 1_000_000:
        raise InputError(
            f"an export holds at most {longest_s} s.", hint="Ask for it in several parts."
        )
    async with AsyncExitStack() as stack:
        limits = await scope.quotas.limits()
        stack.enter_context(scope.quotas.slot(evidence.exports, Quota.EXPORTS, limits))
        segments = await scope.recordings.between(
            camera, span.from_us, span.to_us, limit=MAX_SOURCES
        )
        closed.require_open(segments)
        # The export, its second copy while the index is put in front, and one segment beside it.
        size = sum(segment.size for segment in segments) * 2
        folder = await stack.enter_async_context(evidence.scratch.folder_for(size))
        yield await make_export(
            scope.export_request(camera, span),
            segments,
            storage=scope.blobs,
            scratch=evidence.scratch,
            folder=folder,
            clock=deps.clock,
        )


@router.get(
    "/v1/recordings/export",
    summary="A stretch of a recording as one MP4",
    response_class=Response,
    responses=responses(404, 409)
    | {
        200: {
            "content": {"video/mp4": {}},
            "description": "The file. `Link` names its manifest (`rel=describedby`).",
        },
        206: {"content": {"video/mp4": {}}, "description": "The requested range."},
    },
)
async def export(
    export: Annotated[tuple[Stitched, Manifest], Depends(exported)],
) -> Response:
    """From the key frame at or before `from`; nothing is encoded again. Gaps stay gaps: the picture
    before one stands still. The manifest says what the file holds and what it was made of, with
    hashes; `atalaia recordings verify FILE MANIFEST` checks it at any later time."""
    made, manifest = export
    name = f"{manifest.tenant}-{manifest.camera}-{made.from_us // 1_000_000}.mp4"
    address = f"/v1/recordings/exports/{manifest.id}"
    return RangedFile(
        made.path,
        media_type="video/mp4",
        filename=name,
        headers={"Link": f'<{address}>; rel="describedby"; type="application/json"'},
    )


@router.get(
    "/v1/recordings/exports/{export}",
    summary="The manifest of an export",
    responses=responses(404),
)
async def export_manifest(
    export: Annotated[UUID, Path(description="Id of the export.")], scope: TenantDep
) -> Manifest:
    """As it was when the export was made: compare it with the one that came with a file."""
    return Manifest.model_validate_json(await scope.blobs.get(manifest_key(export)))
