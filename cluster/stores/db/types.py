"""What the records take and give: frozen types beside those of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, JsonValue, SecretStr, model_validator

from cluster.core.roles import Role
from pipelines.anonymisation import AnonymisationPolicy
from pipelines.domain import (
    Alarm,
    AlarmSource,
    Camera,
    Frozen,
    JobState,
    Micros,
    Polygon,
    Recording,
    Sighting,
    SightingFilter,
    Slug,
    UnitFloat,
)
from pipelines.retention import HeldSpan, RetentionKind, RetentionPolicy, SpaceState

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
        # Whoever enters a secret anew, or removes it, need not be able to read the old one.
        unreadable = tuple(old for old in camera.unreadable if old.field not in changed)
        return Camera.model_validate({**dict(camera), **changed, "unreadable": unreadable})


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


class StoredPolicy(Frozen):
    """A tenant's retention policy, and who set it when (UTC microseconds)."""

    policy: RetentionPolicy
    changed_us: int
    changed_by: str


class HoldRecord(Frozen):
    """A legal hold. Times: UTC microseconds, both ends of what is held included.

    Attributes:
        camera: None: every camera of the tenant.
        alarm: the alarm around which it was set, if one was named.
        released_us: None while it holds.
    """

    id: UUID
    camera: str | None
    from_us: int
    to_us: int
    alarm: UUID | None = None
    reason: str
    created_us: int
    created_by: str
    released_us: int | None = None
    released_by: str | None = None

    @property
    def span(self) -> HeldSpan:
        return HeldSpan(self.camera, self.from_us, self.to_us)


class Kept(Frozen):
    """What is kept of one kind.

    Attributes:
        count: rows; None where there are too many to count.
        oldest_us: the oldest, UTC microseconds; None: there is nothing.
    """

    count: int | None
    oldest_us: int | None


class StoredAnonymisation(Frozen):
    """A tenant's anonymisation policy, and who set it when (UTC microseconds)."""

    policy: AnonymisationPolicy
    changed_us: int
    changed_by: str


class Reveal(Frozen):
    """Lets one actor see originals of one camera for some minutes. Times: UTC microseconds.

    Attributes:
        from_us, to_us: capture times that it shows, both ends included.
        alarm: the alarm for which it was asked, with its snapshot and its clip.
        track: the object of which it shows the picture, and nothing else.
        ended_us: when somebody ended it before its time.
    """

    id: UUID
    camera: str
    from_us: int
    to_us: int
    alarm: UUID | None = None
    track: str | None = None
    reason: str
    created_us: int
    created_by: str
    expires_us: int
    ended_us: int | None = None
    ended_by: str | None = None

    def is_active(self, now_us: int) -> bool:
        """Whether it shows anything at that time."""
        return self.ended_us is None and self.created_us <= now_us < self.expires_us

    def shows_alarm(self, alarm: Alarm) -> bool:
        """Whether it shows the snapshot of an alarm."""
        return self.alarm == alarm.id or self.shows(
            alarm.camera, alarm.capture_us, alarm.capture_us
        )

    def shows_object(self, camera: str, track: str) -> bool:
        """Whether it shows the picture of an object."""
        return self.camera == camera and self.track == track

    def shows(self, camera: str, from_us: int, to_us: int) -> bool:
        """Whether it shows all that one camera recorded between two times."""
        covers = self.from_us <= from_us and to_us <= self.to_us
        return self.track is None and self.camera == camera and covers


class RemovalCause(StrEnum):
    AGE = "age"
    SPACE = "space"
    """The disk was above its mark."""


class KindCount(Frozen):
    """What a run removed of one kind.

    Attributes:
        removed: things; `bytes` of their files.
        failures: things that stay until the next run, because a store refused.
    """

    kind: RetentionKind
    cause: RemovalCause
    removed: int = 0
    bytes: int = 0
    failures: int = 0


class RetentionRun(Frozen):
    """What one run of retention did for one tenant. Times: UTC microseconds.

    Attributes:
        complete: nothing that should have gone is left.
        error: the last failure, for people; empty if there was none.
    """

    started_us: int
    ended_us: int
    space: SpaceState = SpaceState.OK
    complete: bool
    counts: tuple[KindCount, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    Attributes:
        tenant: None: the platform itself.
        actor: as records name it: `key:<id>` or `user:<id>`.
    """

    tenant: str | None
    role: Role
    actor: str


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key. Times: UTC microseconds.

    Attributes:
        expires_us: when it stops; None: never.
        last_used_us: to within a minute; None: never.
    """

    id: str
    tenant: str | None
    label: str
    role: Role
    created_us: int
    expires_us: int | None
    last_used_us: int | None
    revoked_us: int | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A fresh key. `secret` is shown this once: only its hash is kept."""

    info: KeyInfo
    secret: str = field(repr=False)

    @property
    def id(self) -> str:
        return self.info.id


def user_actor(user: str) -> str:
    """How the audit log and records name a user, by id."""
    return f"user:{user}"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signs in. Times: UTC microseconds.

    Attributes:
        email: in its normal form.
        signed_in_us: the last time; None: never.
    """

    id: str
    email: str
    name: str
    role: Role
    disabled: bool
    created_us: int
    signed_in_us: int | None

    @property
    def actor(self) -> str:
        """As records name it."""
        return user_actor(self.id)


class UserChanges(Frozen):
    """What to change of a user; None means: leave it. `password` is a hash."""

    name: str | None = None
    role: Role | None = None
    password: SecretStr | None = None
    disabled: bool | None = None
