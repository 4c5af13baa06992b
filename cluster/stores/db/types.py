"""What the records take and give: frozen types beside those of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, JsonValue, SecretStr, model_validator

from pipelines.domain import (
    Alarm,
    AlarmSource,
    Camera,
    Frozen,
    Micros,
    Polygon,
    Recording,
    Sighting,
    SightingFilter,
    Slug,
    UnitFloat,
)

MAX_PAGE = 500


class Tenant(Frozen):
    """One customer. Everything else belongs to exactly one."""

    slug: Slug
    name: str
    created_us: int


class CameraChanges(Frozen):
    """What to change of a camera. Absent means: leave it; `substream_url=None` means: remove it."""

    name: str | None = None
    url: SecretStr | None = None
    substream_url: SecretStr | None = None
    detect_fps: float | None = None
    enabled: bool | None = None
    recording: Recording | None = None
    masks: tuple[Polygon, ...] | None = None

    @model_validator(mode="after")
    def _only_the_substream_can_go(self) -> Self:
        emptied = [
            name
            for name in sorted(self.model_fields_set - {"substream_url"})
            if getattr(self, name) is None
        ]
        if emptied:
            raise ValueError(f"{', '.join(emptied)} cannot be removed; leave the key out instead")
        return self

    def applied_to(self, camera: Camera) -> Camera:
        """The changed camera, validated as a whole. Raises pydantic.ValidationError."""
        changed = {name: getattr(self, name) for name in self.model_fields_set}
        return Camera.model_validate({**dict(camera), **changed})


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def may_become(self) -> frozenset[JobState]:
        """A running job reports `running` again and again; a job that ended stays as it is."""
        return _JOB_MOVES[self]

    @property
    def ended(self) -> bool:
        return not self.may_become


_JOB_ENDS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
_JOB_MOVES = {
    JobState.QUEUED: _JOB_ENDS | {JobState.RUNNING},
    JobState.RUNNING: _JOB_ENDS | {JobState.RUNNING},
    **dict.fromkeys(_JOB_ENDS, frozenset[JobState]()),
}


class JobRecord(Frozen):
    """A job as it is kept. Times: UTC microseconds.

    Attributes:
        request: as it was made, as JSON; `summary`: the job's own, at its end.
        progress: 0..1.
        error: why it failed.
        submission: name under which Ray knows it; None: not started through Ray.
        updated_us: of its last report; a running job reports all the time.
    """

    id: UUID
    kind: str
    request: dict[str, JsonValue]
    state: JobState
    progress: UnitFloat
    summary: dict[str, JsonValue] | None = None
    error: str | None = None
    submission: str | None = None
    created_us: int
    updated_us: int


class AlarmState(StrEnum):
    NEW = "new"
    ACKNOWLEDGED = "acknowledged"


class AlarmRecord(Frozen):
    """An alarm as it is kept, with what people did about it. Times: UTC microseconds."""

    alarm: Alarm
    state: AlarmState
    acknowledged_by: str | None = None
    acknowledged_at_us: int | None = None
    recorded_us: int


class AlarmQuery(Frozen):
    """Which alarms, newest capture first.

    Attributes:
        since_us: captured at or after, UTC microseconds.
        until_us: captured before, UTC microseconds.
        cursor: `next_cursor` of the page before; the other filters must be the same as there.
    """

    camera: Slug | None = None
    rule: Slug | None = None
    state: AlarmState | None = None
    since_us: Micros | None = None
    until_us: Micros | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None


class RecordCounts(Frozen):
    """How much a tenant has of what is limited.

    Attributes:
        most_rules: of the camera that has most.
        detect_fps: frames per second that are to be analysed of all enabled cameras.
    """

    cameras: int
    rules: int
    most_rules: int
    detect_fps: float


class AlarmPage(Frozen):
    items: list[AlarmRecord]
    next_cursor: str | None = None
    """None on the last page."""


class ObjectRecord(Frozen):
    """An object as it is kept: what was seen of it from its first to its last sight."""

    sighting: Sighting
    source: AlarmSource
    """Who wrote it first."""


class ObjectQuery(SightingFilter):
    """Which objects, newest first sight first.

    Attributes:
        cursor: `next_cursor` of the page before; the other filters must be the same as there.
    """

    source: AlarmSource | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, Field(max_length=600)] | None = None


class ObjectPage(Frozen):
    items: list[ObjectRecord]
    next_cursor: str | None = None
    """None on the last page."""


class SlotCount(Frozen):
    """How many objects of a class came into a camera's sight within a quarter of an hour."""

    camera: str
    label: str
    start_us: int
    count: int


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A fresh key. `secret` is shown this once: only its hash is kept."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a key stands for. `tenant` None: the platform itself."""

    tenant: str | None
    key_id: str


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key. Times: UTC microseconds."""

    id: str
    tenant: str | None
    label: str
    created_us: int
    revoked_us: int | None
