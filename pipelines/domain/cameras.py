"""Cameras and their recording settings."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from pipelines.domain.base import CameraKey, Frozen, Slug
from pipelines.domain.geometry import Polygon
from pipelines.domain.schedules import Schedule

MAX_MASKS = 32
"""Masks per camera; bounds the cost of painting each frame."""


class CameraState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class RecordingMode(StrEnum):
    OFF = "off"
    ALARM = "alarm"
    CONTINUOUS = "continuous"
    SCHEDULE = "schedule"


class MaskedRecording(StrEnum):
    """How a camera with privacy masks is recorded. Masked content is never written, so there is no
    other option."""

    TRANSCODE = "transcode"
    """Frames are re-encoded with the masks painted over."""
    OFF = "off"


MAX_PRE_ROLL_S, MAX_POST_ROLL_S = 60, 300
"""The most that is kept before and after an alarm."""


class Recording(Frozen):
    """Recording settings of a camera. Durations are in seconds.

    Mode `alarm` keeps whole segments from `pre_roll_s` before to `post_roll_s` after an alarm; the
    other modes keep everything, always or within the schedule. An alarm's clip covers the same
    range in every mode.
    """

    mode: RecordingMode = RecordingMode.ALARM
    pre_roll_s: Annotated[float, Field(ge=0, le=MAX_PRE_ROLL_S)] = 5.0
    post_roll_s: Annotated[float, Field(ge=0, le=MAX_POST_ROLL_S)] = 10.0
    schedule: Schedule | None = None
    audio: bool = False
    masked: MaskedRecording = MaskedRecording.TRANSCODE

    @model_validator(mode="after")
    def _schedule_where_it_counts(self) -> Self:
        if (self.mode is RecordingMode.SCHEDULE) != (self.schedule is not None):
            raise ValueError('`schedule` belongs to mode "schedule", and only to it')
        return self


class RecordingState(StrEnum):
    OFF = "off"
    """Recording is disabled, by the camera's mode or because of its masks."""
    IDLE = "idle"
    """Outside the schedule, or no frame has arrived yet."""
    RECORDING = "recording"
    FAILING = "failing"
    """Frames are being lost; see `reason`."""


class RecordingStatus(Frozen):
    """Recording status of one camera.

    Attributes:
        reason: for people: why it fails or is off, or why files wait on the bridge's disk.
        segments: files completed since the bridge took the camera over.
        dropped: counts of `pictures` (frames) and `sound` packets that were not written, and of
            `files` that were lost.
    """

    state: RecordingState = RecordingState.OFF
    reason: str = ""
    segments: Annotated[int, Field(ge=0)] = 0
    dropped: dict[str, int] = Field(default_factory=dict)


class UnreadableSecret(Frozen):
    """Something of a camera that the records hold, but that could not be decrypted or is not valid.

    Attributes:
        field: of the camera: `url`, `substream_url`, `recording` or `masks`.
        reason: for people; holds neither the secret nor what is stored in its place.
    """

    field: str
    reason: str


SLOWEST_FPS = 0.5
"""A track is followed for 3 s without being seen (`association.LOST_S`): a heartbeat that is slower
than one look in two seconds would lose it with every box that the detector misses."""

MIN_DETECT_FPS = 0.01
"""A frame in a hundred seconds. Much code divides by the rate, for all cameras in turn."""

DetectFps = Annotated[
    float, Field(gt=0, le=30), AfterValidator(lambda fps: max(fps, MIN_DETECT_FPS))
]
"""Frames per second. Records may hold lower rates from before there was a lowest one."""

HeartbeatFps = Annotated[float, Field(ge=SLOWEST_FPS, le=30)]


class Camera(Frozen):
    """A camera as configured by its tenant. `url` may contain credentials, so it is a secret.

    Attributes:
        attention: whether frames are analysed by what moves, between `detect_fps_min` and
            `detect_fps_max` a second; otherwise evenly, `detect_fps` a second.
        unreadable: secrets that could not be decrypted. Everything else about the camera is there,
            but it cannot be pulled: its `url` is empty, or its `substream_url` is None.
    """

    tenant: Slug
    id: Slug
    name: Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]
    url: SecretStr
    substream_url: SecretStr | None = None
    detect_fps: DetectFps = 5.0
    attention: bool = False
    detect_fps_min: HeartbeatFps = 0.5
    detect_fps_max: Annotated[float, Field(gt=0, le=30)] = 12.0
    enabled: bool = True
    recording: Recording = Recording()
    masks: Annotated[tuple[Polygon, ...], Field(max_length=MAX_MASKS)] = ()
    """Regions of the frame that are painted over before it is analysed or stored."""
    unreadable: tuple[UnreadableSecret, ...] = ()

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.detect_fps_min > self.detect_fps_max:
            raise ValueError("`detect_fps_min` is above `detect_fps_max`")
        return self

    @property
    def key(self) -> CameraKey:
        return CameraKey(self.tenant, self.id)

    @property
    def slowest_fps(self) -> float:
        """Frames per second that are analysed while nothing moves."""
        return min(self.detect_fps, self.detect_fps_min) if self.attention else self.detect_fps

    @property
    def unreadable_reason(self) -> str:
        """Why it cannot be pulled, for people; empty where nothing is unreadable."""
        return " ".join(secret.reason for secret in self.unreadable)

    def is_unreadable(self, field: str) -> bool:
        """Whether this field's secret is stored, but could not be decrypted."""
        return any(secret.field == field for secret in self.unreadable)
