"""`/v1/cameras`: what a tenant wants watched, and how each camera fares."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Response
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from cluster.core.log import redact
from cluster.core.redaction import HIDDEN
from cluster.core.roles import Permission
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.urls import parse_camera_url, public_url
from cluster.stores.audit.events import AuditAction
from cluster.stores.bus import CameraStatus
from cluster.stores.db import CameraChanges
from pipelines.domain import (
    MAX_MASKS,
    MIN_DETECT_FPS,
    SLOWEST_FPS,
    STORAGE_CAMERA,
    Camera,
    CameraState,
    Polygon,
    Recording,
    RecordingState,
    RecordingStatus,
    Slug,
)
from pipelines.errors import InputError, UnavailableError
from serve.api.audit.note import AuditNote, AuditNoteDep
from serve.api.bound import TenantAddresses
from serve.api.fields import (
    CREATED,
    CameraPath,
    DisplayName,
    PatchBody,
    RequestBody,
    ResponseBody,
    SecretText,
)
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.scope import TenantDep, TenantScope
from serve.api.state import DepsDep
from serve.api.times import rfc3339

router = APIRouter(tags=["cameras"], responses=responses(401, 403, 422, 429, 503))

DetectFps = Annotated[
    float,
    Field(
        ge=MIN_DETECT_FPS,
        le=30,
        allow_inf_nan=False,
        description="Frames per second that are analysed.",
    ),
]
Attention = Annotated[
    bool,
    Field(
        description="Whether frames are analysed by what moves: `detect_fps` of them a second "
        "while something does, `detect_fps_min` while nothing does, up to `detect_fps_max` when "
        "something new begins to. Otherwise `detect_fps`, evenly."
    ),
]
DetectFpsMin = Annotated[
    float,
    Field(
        ge=SLOWEST_FPS,
        le=30,
        allow_inf_nan=False,
        description="With `attention`: frames per second that are analysed while nothing moves; "
        "at most `detect_fps` counts.",
    ),
]
DetectFpsMax = Annotated[
    float,
    Field(
        gt=0,
        le=30,
        allow_inf_nan=False,
        description="With `attention`: at most so many frames per second are analysed, for "
        "seconds, when something new moves; a whole multiple of `detect_fps` counts.",
    ),
]
CameraUrl = Annotated[
    SecretText,
    Field(
        min_length=1,
        max_length=2048,
        description="rtsp(s)://, rtmp(s):// or http(s):// address. May hold `user:password@`, with "
        "special characters as they are or percent-encoded; it is never given back.",
        examples=["rtsp://viewer:p@ss#word@192.0.2.10:554/stream1"],
    ),
]


Masks = Annotated[
    tuple[Polygon, ...],
    Field(
        max_length=MAX_MASKS,
        description="Polygons in normalized coordinates. What they cover is seen by no detector, "
        "and is in no live view, recording, snapshot or memory.",
        examples=[[[[0.0, 0.0], [0.3, 0.0], [0.3, 0.2], [0.0, 0.2]]]],
    ),
]


class NewCamera(RequestBody):
    id: Slug = Field(examples=["gate"])
    name: DisplayName | None = Field(None, description="Default: the id.", examples=["North gate"])
    url: CameraUrl
    substream_url: CameraUrl | None = Field(
        None, description="A smaller stream of the same picture, used for detection."
    )
    detect_fps: DetectFps = 5.0
    attention: Attention = False
    detect_fps_min: DetectFpsMin = 0.5
    detect_fps_max: DetectFpsMax = 12.0
    enabled: bool = True
    recording: Recording = Field(Recording(), description="What of its picture is kept.")
    masks: Masks = ()

    @field_validator("id")
    @classmethod
    def _is_a_camera(cls, id: str) -> str:
        if id == STORAGE_CAMERA:
            raise ValueError("alarms about the storage have this id in place of a camera's")
        return id

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.detect_fps_min > self.detect_fps_max:
            raise ValueError("`detect_fps_min` is above `detect_fps_max`")
        return self


class CameraPatch(PatchBody):
    """What to change; a key left out stays as it is. `substream_url: null` removes that stream."""

    name: DisplayName = Field("", examples=["South gate"])
    url: CameraUrl = SecretStr("")
    substream_url: CameraUrl | None = None
    detect_fps: DetectFps = 5.0
    attention: Attention = False
    detect_fps_min: DetectFpsMin = 0.5
    detect_fps_max: DetectFpsMax = 12.0
    enabled: bool = True
    recording: Recording = Field(Recording(), description="What of its picture is kept.")
    masks: Masks = ()


class RecordingStats(ResponseBody):
    """How the recording fares, since its bridge has the camera."""

    state: RecordingState
    reason: str = Field(
        description="Why it fails or is off, or why files wait on the bridge's disk, for people."
    )
    segments: int = Field(description="Files that were finished.")
    dropped: dict[str, int] = Field(
        description="`pictures` and pieces of `sound` that were not written, lost `files`."
    )


class CameraStats(ResponseBody):
    """What is measured of the stream; null where nothing has come yet."""

    fps: float | None
    width: int | None
    height: int | None
    codec: str | None
    watched_fps: float | None = Field(description="Frames per second that were analysed.")
    skipped: dict[str, int] = Field(description="Frames that were not analysed, by reason.")
    dropped: dict[str, int] = Field(
        description="Results that could not be handed on: boxes to viewers, crops to the memory."
    )
    last_frame_at: str | None
    recording: RecordingStats | None


class CameraView(ResponseBody):
    id: str = Field(examples=["gate"])
    name: str
    url: str = Field(
        description="Credentials are replaced by `***`; `***` alone: it cannot be decrypted.",
        examples=["rtsp://***@192.0.2.10:554/stream1"],
    )
    substream_url: str | None
    detect_fps: float
    attention: bool
    detect_fps_min: float
    detect_fps_max: float
    enabled: bool
    recording: Recording
    masks: tuple[Polygon, ...]
    state: CameraState
    reason: str = Field(description="Why the camera is in this state, for people.")
    since: str | None = Field(description="When the state began.")
    stats: CameraStats


class CameraList(ResponseBody):
    cameras: list[CameraView]


PICTURE_STATES = (CameraState.LIVE, CameraState.DEGRADED)

NO_STATS = CameraStats(
    fps=None,
    width=None,
    height=None,
    codec=None,
    watched_fps=None,
    skipped={},
    dropped={},
    last_frame_at=None,
    recording=None,
)


def camera_view(camera: Camera, status: CameraStatus | None) -> CameraView:
    """A camera as its tenant sees it: no credential, and a state also where none is known yet."""
    state, reason = CameraState.CONNECTING, "waiting for the first report"
    if not camera.enabled:
        state, reason = CameraState.OFFLINE, "disabled"
    elif status is not None:
        state, reason = status.state, redact(status.reason)
    elif camera.unreadable:
        state, reason = CameraState.OFFLINE, camera.unreadable_reason
    known = status if camera.enabled else None
    return CameraView(
        id=camera.id,
        name=camera.name,
        url=_shown(camera, "url", camera.url) or "",
        substream_url=_shown(camera, "substream_url", camera.substream_url),
        detect_fps=camera.detect_fps,
        attention=camera.attention,
        detect_fps_min=camera.detect_fps_min,
        detect_fps_max=camera.detect_fps_max,
        enabled=camera.enabled,
        recording=camera.recording,
        masks=camera.masks,
        state=state,
        reason=reason,
        since=rfc3339(known.since_us) if known else None,
        stats=_stats(known) if known else NO_STATS,
    )


def _shown(camera: Camera, field: str, url: SecretStr | None) -> str | None:
    if camera.is_unreadable(field):
        return HIDDEN
    return None if url is None else public_url(url.get_secret_value())


def _stats(status: CameraStatus) -> CameraStats:
    return CameraStats(
        fps=status.fps or None,
        width=status.width or None,
        height=status.height or None,
        codec=status.codec or None,
        watched_fps=status.watched_fps,
        skipped=dict(status.skipped),
        dropped=dict(status.dropped),
        last_frame_at=rfc3339(status.last_frame_us) if status.last_frame_us else None,
        recording=_recording_stats(status.recording) if status.recording else None,
    )


def _recording_stats(report: RecordingStatus) -> RecordingStats:
    return RecordingStats(
        state=report.state,
        reason=redact(report.reason),
        segments=report.segments,
        dropped=dict(report.dropped),
    )


async def checked_url(secret: SecretStr, addresses: TenantAddresses) -> SecretStr:
    """A camera URL in its one correct spelling.

    A name that does not resolve now is accepted: the camera's state reports it. Whatever is let
    through here is checked again before each connection.

    Raises:
        InputError: it is no URL of a camera, or its address is none that cameras may have. The
            message never quotes it, and never depends on what listens there.
    """
    raw = secret.get_secret_value().strip()
    if "***@" in raw:
        raise InputError(
            "This camera URL is one that the API has redacted.",
            hint="Leave `url` out to keep the one that is stored, or send it with its password.",
        )
    url = parse_camera_url(raw)
    try:
        await addresses.check(url.host, url.effective_port)
    except UnreadableCameraError as error:
        if error.problem is CameraProblem.NOT_ALLOWED:
            raise InputError(error.message, hint=error.hint) from None
    return SecretStr(url.encoded)


def _note_fields(note: AuditNote, body: NewCamera | CameraPatch) -> None:
    """Which fields were sent, not what they hold: a URL is a secret."""
    note.details["fields"] = sorted(body.model_fields_set - {"id"})
    if "masks" in body.model_fields_set:
        note.details["masks"] = len(body.masks)
        note.also.append(AuditAction.MASKS_CHANGE)


async def _view(scope: TenantScope, camera: Camera) -> CameraView:
    return camera_view(camera, await scope.statuses.of(camera.id))


async def _changed_view(scope: TenantScope, camera: Camera) -> CameraView:
    """Also without a status: the change is made, and an error would say that it is not."""
    try:
        return await _view(scope, camera)
    except UnavailableError:
        return camera_view(camera, None)


@router.post(
    "/v1/cameras",
    dependencies=[needs(Permission.CAMERA_MANAGE)],
    status_code=201,
    summary="Add a camera",
    responses=responses(400, 409, 413) | CREATED,
)
async def add_camera(
    body: NewCamera, scope: TenantDep, response: Response, note: AuditNoteDep
) -> CameraView:
    """The camera is pulled and watched within two seconds; see its `state`."""
    note.object_id = body.id
    _note_fields(note, body)
    substream_url = body.substream_url
    camera = scope.new_camera(
        id=body.id,
        name=body.name or body.id,
        url=await checked_url(body.url, scope.addresses),
        substream_url=(
            await checked_url(substream_url, scope.addresses) if substream_url else None
        ),
        detect_fps=body.detect_fps,
        attention=body.attention,
        detect_fps_min=body.detect_fps_min,
        detect_fps_max=body.detect_fps_max,
        enabled=body.enabled,
        recording=body.recording,
        masks=body.masks,
    )
    await scope.records.add_camera(camera, at_most=await scope.quotas.limit(Quota.CAMERAS))
    note.committed = True
    await scope.announcer.changed(camera.id)
    response.headers["Location"] = f"/v1/cameras/{camera.id}"
    # A status of an earlier camera of this id does not apply to the new one.
    return camera_view(camera, None)


@router.get(
    "/v1/cameras",
    dependencies=[needs(Permission.CAMERA_READ)],
    summary="List cameras with their state",
)
async def list_cameras(scope: TenantDep) -> CameraList:
    cameras = await scope.records.cameras()
    known = await scope.statuses.all()
    return CameraList(cameras=[camera_view(camera, known.get(camera.id)) for camera in cameras])


@router.get(
    "/v1/cameras/{camera}",
    dependencies=[needs(Permission.CAMERA_READ)],
    summary="One camera with its state",
    responses=responses(404),
)
async def get_camera(camera: CameraPath, scope: TenantDep) -> CameraView:
    return await _view(scope, await scope.records.camera(camera))


@router.patch(
    "/v1/cameras/{camera}",
    dependencies=[needs(Permission.CAMERA_MANAGE)],
    summary="Change a camera",
    responses=responses(400, 404, 413),
)
async def change_camera(
    camera: CameraPath, body: CameraPatch, scope: TenantDep, note: AuditNoteDep
) -> CameraView:
    """Takes effect within two seconds. A new `url` makes the camera reconnect; a new `detect_fps`
    does not."""
    _note_fields(note, body)
    changes: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    for name in ("url", "substream_url"):
        if changes.get(name) is not None:
            changes[name] = await checked_url(changes[name], scope.addresses)
    if not changes:
        return await _view(scope, await scope.records.camera(camera))
    try:
        updated = await scope.records.update_camera(camera, CameraChanges(**changes))
    except ValidationError as error:
        raise InputError(error.errors(include_input=False)[0]["msg"]) from None
    note.committed = True
    await scope.announcer.changed(camera)
    return await _changed_view(scope, updated)


@router.delete(
    "/v1/cameras/{camera}",
    dependencies=[needs(Permission.CAMERA_MANAGE)],
    status_code=204,
    summary="Remove a camera",
    responses=responses(404),
)
async def remove_camera(camera: CameraPath, scope: TenantDep, note: AuditNoteDep) -> None:
    """Its rules go with it. Its alarms, and what was seen by it, stay until they are erased."""
    await scope.records.remove_camera(camera)
    note.committed = True
    await scope.announcer.changed(camera)


@router.get(
    "/v1/cameras/{camera}/snapshot",
    dependencies=[needs(Permission.LIVE_WATCH)],
    summary="A picture of now",
    response_class=Response,
    responses=responses(404)
    | {200: {"content": {"image/jpeg": {}}, "description": "JPEG of the latest frame"}},
)
async def snapshot(camera: CameraPath, scope: TenantDep, deps: DepsDep) -> Response:
    """503 with the reason while the camera is not live."""
    wanted = await scope.records.camera(camera)
    status = await scope.statuses.of(camera)
    view = camera_view(wanted, status)
    if status is None or not status.host or view.state not in PICTURE_STATES:
        raise UnavailableError(
            f"Camera '{camera}' has no picture: it is {view.state} ({view.reason}).",
            hint="Try again when its state is live.",
        )
    jpeg = await deps.hosts.snapshot(status.host, wanted.key)
    return Response(jpeg, media_type="image/jpeg")
