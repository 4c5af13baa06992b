"""`/v1/recordings`: what was recorded, and a stretch of it as one file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import groupby
from pathlib import Path as FilePath
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AwareDatetime, Field

from cluster.clips.anonymous import Hiding, hidden
from cluster.clips.coverage import Span, covered
from cluster.clips.exports import Finish, make_export, manifest_key
from cluster.clips.manifest import COPIED, HIDDEN, Manifest
from cluster.clips.stitch import Stitched
from cluster.core.roles import Permission
from cluster.stores.blobs.tenant import NO_BLOB
from pipelines.anonymisation import HideRule, complete_until_us
from pipelines.domain import SLUG_PATTERN, Segment
from pipelines.errors import ConflictError, InputError
from serve.api.before_mask import ClosedFootageDep
from serve.api.evidence import Evidence
from serve.api.fields import NextCursor, PageCursor, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.quotas.storage import require_storage
from serve.api.ranges import RangedFile
from serve.api.scope import TenantDep, TenantScope
from serve.api.state import StateDep
from serve.api.times import micros, rfc3339
from serve.api.viewing import ViewingDep, persons_of

router = APIRouter(
    tags=["recordings"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.RECORDING_EXPORT)],
)

# An hour of segments of ten seconds is 360; more than this is no sensible range.
MAX_SOURCES = 5_000
# It is encoded before the answer begins, which takes up to 0.7 of its duration.
ANONYMISED_EXPORT_MAX_S = 300

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
    url: str | None = Field(
        description="Signed address of the file; it works for some minutes. null: the tenant's "
        "policy hides persons. An export shows the time with persons hidden, a reveal the file."
    )


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
    viewing: ViewingDep,
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
        sight = viewing.of_span(segment.camera, segment.start_us, segment.end_us)
        url = None
        if sight.rule is None:
            url = scope.links.link(segment.blob, "video/mp4", segment.camera, shows=sight.shows)
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
            url=url,
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
    viewing: ViewingDep,
    camera: CameraQuery,
    since: Since,
    until: Until,
    closed: ClosedFootageDep,
) -> AsyncIterator[tuple[Stitched, Manifest]]:
    """A finished export, on disk for as long as the answer is being sent."""
    span = asked_range(since, until)
    evidence, deps = state.evidence, state.deps
    sight = viewing.of_span(camera, span.from_us, span.to_us - 1)
    longest_s = deps.settings.api.export_max_s
    if sight.rule is not None:
        longest_s = min(longest_s, ANONYMISED_EXPORT_MAX_S)
    if span.to_us - span.from_us > longest_s * 1_000_000:
        raise InputError(
            f"an export holds at most {longest_s} s.", hint="Ask for it in several parts."
        )
    await require_storage(scope)
    async with AsyncExitStack() as stack:
        limits = await scope.quotas.limits()
        stack.enter_context(scope.quotas.slot(evidence.exports, Quota.EXPORTS, limits))
        segments = await scope.recordings.between(
            camera, span.from_us, span.to_us, limit=MAX_SOURCES
        )
        closed.require_open(segments)
        # The export, its second copy while the index is put in front, and one segment beside it;
        # an anonymised one may be four times as large.
        size = sum(segment.size for segment in segments) * (2 if sight.rule is None else 10)
        folder = await stack.enter_async_context(evidence.scratch.folder_for(size))
        yield await make_export(
            scope.export_request(camera, span),
            segments,
            storage=scope.blobs,
            scratch=evidence.scratch,
            folder=folder,
            clock=deps.clock,
            finish=_finish(sight.rule, camera, scope, evidence, folder, viewing.now_us),
            method=COPIED if sight.rule is None else HIDDEN,
        )


def _finish(
    rule: HideRule | None,
    camera: str,
    scope: TenantScope,
    evidence: Evidence,
    folder: FilePath,
    now_us: int,
) -> Finish | None:
    """What hides persons in an export; None: it is the original."""
    if rule is None:
        return None

    async def finish(made: Stitched) -> Stitched:
        if complete_until_us(now_us) < made.to_us:
            raise ConflictError(
                "where persons are in the last part of it is not stored yet.",
                hint="Try again in half a minute, or export a time that ends earlier.",
            )
        persons = await persons_of(scope, rule, camera, (made.from_us, made.to_us), now_us)
        return await hidden(made, Hiding(rule, persons), folder / "hidden.mp4", evidence.scratch)

    return finish


@router.get(
    "/v1/recordings/export",
    summary="A stretch of a recording as one MP4",
    response_class=Response,
    responses=responses(404, 409, 507)
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
    """From the key frame at or before `from`. Nothing is encoded again, unless the tenant's policy
    hides persons: such an export holds five minutes at most. Gaps stay gaps: the picture
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
    manifest = Manifest.model_validate_json(await scope.blobs.get(manifest_key(export)))
    await scope.check_camera(manifest.camera, NO_BLOB)
    return manifest
