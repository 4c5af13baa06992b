"""Cameras, and what is recorded of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from pipelines.domain.base import CameraKey, Frozen, Slug
from pipelines.domain.geometry import Polygon
from pipelines.domain.schedules import Schedule

MAX_MASKS = 32


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
    """What is recorded of a camera that has privacy masks. There is no third way: what the masks
    hide is never written."""

    TRANSCODE = "transcode"
    """Pictures are encoded anew with the masks painted into them."""
    OFF = "off"


class Recording(Frozen):
    """What of a camera is kept. Durations are seconds.

    `alarm` keeps what lies from `pre_roll_s` before to `post_roll_s` after an alarm, in whole
    segments; the other modes keep everything, always or within the schedule. The clip of an alarm
    reaches as far in every mode.
    """

    mode: RecordingMode = RecordingMode.ALARM
    pre_roll_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    post_roll_s: Annotated[float, Field(ge=0, le=300)] = 10.0
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
    """Nothing is to be recorded, by the camera's mode or because of its masks."""
    IDLE = "idle"
    """Nothing is to be recorded now, by the schedule, or no frame came yet."""
    RECORDING = "recording"
    FAILING = "failing"
    """Frames are lost; `reason` says why."""


class RecordingStatus(Frozen):
    """How the recording of one camera is doing.

    Attributes:
        reason: why it fails, is off, or why files wait on the bridge's disk; for people.
        segments: files that were finished since the bridge has the camera.
        dropped: `pictures` and pieces of `sound` that were not written, `files` that were lost.
    """

    state: RecordingState = RecordingState.OFF
    reason: str = ""
    segments: Annotated[int, Field(ge=0)] = 0
    dropped: dict[str, int] = Field(default_factory=dict)


class Camera(Frozen):
    """A camera as its tenant wants it. `url` may hold credentials: it is a secret everywhere."""

    tenant: Slug
    id: Slug
    name: Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]
    url: SecretStr
    substream_url: SecretStr | None = None
    detect_fps: Annotated[float, Field(gt=0, le=30)] = 5.0
    enabled: bool = True
    recording: Recording = Recording()
    masks: Annotated[tuple[Polygon, ...], Field(max_length=MAX_MASKS)] = ()
    """Parts of the picture that are painted over before anything looks at it or keeps it."""

    @property
    def key(self) -> CameraKey:
        return CameraKey(self.tenant, self.id)
