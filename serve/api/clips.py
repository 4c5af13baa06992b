"""`/v1/alarms/{id}/clip`: the moving picture of an alarm, and what was seen in it."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from cluster.clips.annotations import annotated_frames, as_json, as_webvtt, is_complete
from cluster.clips.anonymous import Hiding
from cluster.clips.clips import (
    Clip,
    ClipFile,
    ClipReason,
    ClipState,
    RecordingPolicy,
    before_mask,
    clip_key,
)
from cluster.clips.coverage import Span
from cluster.core.roles import Permission
from cluster.core.settings import RecordingSettings
from cluster.recording.finality import settled_after_s
from pipelines.anonymisation import Hide, HideRule, complete_until_us
from pipelines.domain import Alarm, Recording
from pipelines.errors import NotFoundError
from serve.api.alarms import AlarmPath
from serve.api.audit.note import AuditNoteDep
from serve.api.before_mask import ClosedFootageDep
from serve.api.bound import TenantLinks
from serve.api.fields import ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.quotas.storage import full_error, storage_full
from serve.api.recordings import SpanView, span_view
from serve.api.scope import TenantDep, TenantScope
from serve.api.state import ApiState, StateDep
from serve.api.times import rfc3339
from serve.api.viewing import Sight, ViewingDep, persons_of

router = APIRouter(
    tags=["alarms"],
    responses=responses(401, 403, 404, 422, 429, 503),
    dependencies=[needs(Permission.CLIP_READ)],
)


class BoxLinks(ResponseBody):
    """Signed addresses of what was seen, by time of the clip."""

    json_: str = Field(serialization_alias="json")
    vtt: str = Field(description="WebVTT for a track of kind `metadata`.")


class ClipView(ResponseBody):
    state: ClipState
    reason: str | None = Field(description="Why there is no clip (yet), for people.")
    code: ClipReason | None = Field(description="The same for programs.")
    since: str = Field(
        serialization_alias="from", description="First picture; wanted, where not ready."
    )
    until: str = Field(serialization_alias="to", description="End; wanted, where not ready.")
    alarm_at_s: float = Field(description="The alarm's moment, seconds after `from`.")
    gaps: list[SpanView] = Field([], description="Nothing was recorded; the picture stands still.")
    url: str | None = Field(None, description="Signed address of the MP4; works for some minutes.")
    boxes: BoxLinks | None = None
    codec: str | None = Field(None, examples=["h264"])
    encoded_from: str | None = Field(
        None,
        description="Codec of the recording, where browsers would not play it and the pictures "
        "were encoded anew; null: they are the recording's own.",
        examples=["hevc"],
    )
    width: int | None = None
    height: int | None = None
    size: int | None = Field(None, description="Bytes.")
    sha256: str | None = None
    audio: bool | None = None
    masked: bool | None = Field(None, description="Whether privacy masks are painted into it.")
    anonymised: Hide | None = Field(
        None, description="Whether and how persons are hidden in it; `off`: it is the original."
    )
    reveal: UUID | None = Field(
        None, description="The reveal under which the original is shown, if one is needed."
    )


@router.get("/v1/alarms/{alarm}/clip", summary="The clip of an alarm", responses=responses(507))
async def alarm_clip(
    alarm: AlarmPath,
    scope: TenantDep,
    state: StateDep,
    note: AuditNoteDep,
    viewing: ViewingDep,
    closed: ClosedFootageDep,
) -> ClipView:
    """Made at the first request, from what was recorded around the alarm. `pending`: request it
    again in some seconds. `none`: there will be none, and why. A tenant that uses all of the
    storage that it may gets those that are there. Persons are hidden in it as the tenant's policy
    says."""
    known = await scope.alarm(alarm)
    kept = await recording_policy(scope, state.deps.settings.recording, known.camera)
    full = await storage_full(scope)
    at_most = 0 if full else await scope.quotas.limit(Quota.CLIPS)
    clip = await state.evidence.clips.clip(
        known, kept, scope.recordings, scope.blobs, at_most=at_most
    )
    file = clip.file
    if file is not None and closed.hides(known.camera, file.painted_us):
        clip = before_mask(clip)
    sight = Sight(known.camera)
    if clip.file is not None:
        sight = viewing.of_clip(known, clip.file.from_us, clip.file.to_us)
        if sight.rule is not None:
            clip = await _anonymised(
                known, clip, sight.rule, scope, state, viewing.now_us, at_most=at_most
            )
    if full and clip.reason is ClipReason.BEING_MADE:
        raise full_error()
    note.details["state"] = clip.state
    if clip.file is not None:
        complete = state.deps.clock.now_us() >= kept.settled_us(known)
        await _write_boxes(known, clip.file, scope, complete=complete)
    return _view(known, clip, sight, scope.links)


async def _anonymised(
    alarm: Alarm,
    clip: Clip,
    rule: HideRule,
    scope: TenantScope,
    state: ApiState,
    now_us: int,
    *,
    at_most: int,
) -> Clip:
    """The clip with persons hidden; pending until all of them must be known."""
    file = clip.file
    assert file is not None, "only a clip that is ready is anonymised"
    if complete_until_us(now_us) < file.to_us:
        return Clip(
            ClipState.PENDING,
            file.span,
            ClipReason.NOT_STORED_YET,
            "Where persons are in it is not stored yet. It will be within seconds.",
        )
    persons = await persons_of(scope, rule, alarm.camera, (file.from_us, file.to_us), now_us)

    async def still() -> bool:
        stored = await scope.anonymisation.policy()
        return stored is not None and stored.policy.rule(alarm.camera) == rule

    return await state.evidence.anonymous.clip(
        alarm, clip, Hiding(rule, persons), scope.blobs, still=still, at_most=at_most
    )


async def recording_policy(
    scope: TenantScope, settings: RecordingSettings, camera: str
) -> RecordingPolicy:
    """What is kept of a camera; of one that is gone, what cameras keep by default."""
    try:
        found = await scope.records.camera(camera)
        recording, masks = found.recording, found.masks
    except NotFoundError:
        recording, masks = Recording(), ()
    return RecordingPolicy(recording, settled_after_s(settings, recording, masks))


async def _write_boxes(alarm: Alarm, file: ClipFile, scope: TenantScope, *, complete: bool) -> None:
    """Store what was seen beside the clip: anew until all of it must be known, then never again, so
    that it outlives the paths that it is made of.

    Args:
        complete: whether all of it must be known by now.
    """
    name = clip_key(alarm.id, "boxes.json")
    try:
        if is_complete(await scope.blobs.get(name)):
            return
    except NotFoundError:
        pass  # the first request
    span = file.span
    paths = await scope.tracks.paths(alarm.camera, span.from_us, span.to_us)
    frames = annotated_frames(alarm, paths, span)
    await scope.blobs.put(clip_key(alarm.id, "boxes.vtt"), as_webvtt(frames, span))
    await scope.blobs.put(name, as_json(alarm, frames, span, complete=complete))


def _view(alarm: Alarm, clip: Clip, sight: Sight, links: TenantLinks) -> ClipView:
    file, key = clip.file, partial(clip_key, alarm.id)
    common: dict[str, Any] = {
        "state": clip.state,
        "reason": clip.text or None,
        "code": clip.reason,
        "since": rfc3339(clip.span.from_us),
        "until": rfc3339(clip.span.to_us),
        "alarm_at_s": (alarm.capture_us - clip.span.from_us) / 1_000_000,
    }
    if file is None:
        return ClipView(**common)
    return ClipView(
        **common,
        gaps=[span_view(Span(*gap)) for gap in file.gaps],
        url=links.link(
            key("mp4" if sight.rule is None else "hidden.mp4"),
            "video/mp4",
            alarm.camera,
            shows=sight.shows,
        ),
        boxes=BoxLinks(
            json_=links.link(key("boxes.json"), "application/json", alarm.camera),
            vtt=links.link(key("boxes.vtt"), "text/vtt", alarm.camera),
        ),
        codec=file.codec,
        encoded_from=file.encoded_from,
        width=file.width,
        height=file.height,
        size=file.size,
        sha256=file.sha256,
        audio=file.audio,
        masked=file.masked,
        anonymised=Hide.OFF if sight.rule is None else sight.rule.hide,
        reveal=sight.reveal.id if sight.reveal is not None else None,
    )
