"""What the records take and give: frozen types beside those of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, JsonValue, SecretStr, model_validator

from cluster.core.holders import Credential, CredentialKind, Holder
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
from pipelines.erasure import (
    ErasureKind,
    ErasureState,
    ErasureStep,
    ItemState,
    StepState,
    WaitReason,
)
from pipelines.moving import MovePhase
from pipelines.retention import (
    EVENT_AFTER_US,
    EVENT_BEFORE_US,
    HeldSpan,
    RetentionKind,
    RetentionPolicy,
    SpaceState,
)

MAX_PAGE = 500

Groups = tuple[str, ...] | None
"""Ids of camera groups, whose cameras are all that is seen; None: all cameras."""


class Tenant(Frozen):
    """One customer. Everything else belongs to exactly one."""

    slug: Slug
    name: str
    created_us: int


class Whereabouts(Frozen):
    """Of a tenant. `phase`: None: it lives here, and nobody moves it; `pod`: the other cluster."""

    phase: MovePhase | None
    pod: str | None


class CameraChanges(Frozen):
    """What to change of a camera. Absent means: leave it; `substream_url=None` means: remove it."""

    name: str | None = None
    url: SecretStr | None = None
    substream_url: SecretStr | None = None
    detect_fps: float | None = None
    attention: bool | None = None
    detect_fps_min: float | None = None
    detect_fps_max: float | None = None
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
    masks_us: int | None = None
    """Masks were painted into its picture afterwards: those that its camera has had since then."""


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
    masks_us: int | None = None
    """None of the masks that its camera has had since this moment touches what its picture shows;
    None: nobody looked."""


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
        """What it keeps. Holds on alarms were once as long as the rolls that their camera had when
        they were set, and may have had others at the alarm: they are widened."""
        from_us, to_us = self.from_us, self.to_us
        if self.alarm is not None and to_us - from_us < EVENT_BEFORE_US + EVENT_AFTER_US:
            # The alarm lies somewhere in between.
            from_us, to_us = from_us - EVENT_BEFORE_US, to_us + EVENT_AFTER_US
        return HeldSpan(self.camera, from_us, to_us)


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
    QUOTA = "quota"
    """The tenant used more of the storage than it may."""


class StorageUse(Frozen):
    """Bytes of the storage that a tenant uses. Times: UTC microseconds.

    Attributes:
        recordings: by their rows, when measured.
        files: all others, when listed.
        state: `removing`: what policy would keep was removed because it was more than it may be;
            `exhausted`: it is, and nothing is left that may be removed.
    """

    recordings: int
    files: int
    listed_us: int
    measured_us: int
    state: SpaceState = SpaceState.OK

    @property
    def total(self) -> int:
        return self.recordings + self.files


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
        groups: ids of the camera groups that it is limited to; None: all cameras.
        session: of a user; None: it is a key that asks.
    """

    tenant: str | None
    role: Role
    actor: str
    session: str | None = None
    groups: Groups = None

    @property
    def credential(self) -> Credential:
        """The key or the session of this request."""
        if self.session is not None:
            return Credential(self.tenant, CredentialKind.SESSION, self.session)
        return Credential(self.tenant, CredentialKind.KEY, self.actor.removeprefix("key:"))

    @property
    def rights(self) -> str:
        """What the caller may do, as one short text to compare: when it changes, what was issued
        under the former rights ends. Whatever else will limit a caller belongs in here."""
        if self.groups is None:
            return self.role.value
        groups = sha256(" ".join(sorted(self.groups)).encode()).hexdigest()[:16]
        return f"{self.role.value}+{groups}"

    @property
    def holder(self) -> Holder:
        """Who holds what is issued in this request and outlives it, such as a link."""
        return Holder(self.credential, self.rights)

    def still_holds(self, holder: Holder) -> bool:
        """Whether what `holder` was given is still this caller's."""
        return self.holder == holder


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key. Times: UTC microseconds.

    Attributes:
        expires_us: when it stops; None: never.
        last_used_us: to within a minute; None: never.
        groups: ids of camera groups; None: all cameras.
        replaced_by: id of the key that a rotation put in its place.
    """

    id: str
    tenant: str | None
    label: str
    role: Role
    created_us: int
    expires_us: int | None
    last_used_us: int | None
    revoked_us: int | None
    groups: Groups = None
    replaced_by: str | None = None


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
        provider: name of the identity provider at which they sign in, which also says their role;
            None: they have a password.
        groups: ids of camera groups; None: all cameras.
    """

    id: str
    email: str
    name: str
    role: Role
    disabled: bool
    created_us: int
    signed_in_us: int | None
    provider: str | None = None
    groups: Groups = None

    @property
    def actor(self) -> str:
        """As records name it."""
        return user_actor(self.id)


class UserChanges(Frozen):
    """What to change of a user; None means: leave it. `password` is a hash. `groups` counts where
    it was given: None is all cameras then."""

    name: str | None = None
    role: Role | None = None
    password: SecretStr | None = None
    disabled: bool | None = None
    groups: Groups = None


class CameraGroup(Frozen):
    """Cameras under one name.

    Attributes:
        cameras: ids, sorted; also of cameras that were removed.
        users, keys: how many are limited to it, keys that no longer work left out.
    """

    id: Slug
    name: str
    cameras: tuple[str, ...]
    created_us: int
    users: int = 0
    keys: int = 0


class StepReport(Frozen):
    """Where a step of an erasure stands.

    Attributes:
        reason, detail: for what it waits; `detail` is for people.
        cursor: the step's own place.
    """

    step: ErasureStep
    state: StepState = StepState.PENDING
    reason: WaitReason | None = None
    detail: str = ""
    cursor: dict[str, int] = Field(default_factory=dict)


class ErasedCount(Frozen):
    """What was removed of one kind, and what a legal hold keeps. `bytes` of files."""

    removed: int = 0
    bytes: int = 0
    held: int = 0

    def plus(self, other: ErasedCount) -> ErasedCount:
        return ErasedCount(
            removed=self.removed + other.removed,
            bytes=self.bytes + other.bytes,
            held=self.held + other.held,
        )


class ErasureRecord(Frozen):
    """An erasure on request. Times: UTC microseconds.

    Attributes:
        objects: how many it was asked for; 0 for a tenant.
        counts: by kind, like `sql.alarms` or `blobs.clips`.
        marked_us: since when nothing of it is recorded any more.
        receipt: with its signature; None until it is done.
    """

    id: UUID
    tenant: str
    kind: ErasureKind
    objects: int
    reason: str
    created_us: int
    created_by: str
    state: ErasureState
    steps: tuple[StepReport, ...]
    counts: dict[str, ErasedCount] = Field(default_factory=dict)
    marked_us: int | None = None
    ended_us: int | None = None
    receipt: dict[str, JsonValue] | None = None

    def report(self, step: ErasureStep) -> StepReport:
        return next(report for report in self.steps if report.step is step)

    @property
    def step_states(self) -> dict[ErasureStep, StepState]:
        return {report.step: report.state for report in self.steps}

    @property
    def removed(self) -> int:
        """Things of all kinds."""
        return sum(count.removed for count in self.counts.values())


class ErasureItem(Frozen):
    """One thing that an erasure is about.

    Attributes:
        bytes: None: not checked yet whether it exists.
        since_us: when a writer of records refused it; 0: the erasure found it.
        from_us, to_us: what it shows, UTC microseconds.
    """

    kind: str
    key: str
    state: ItemState = ItemState.FOUND
    bytes: int | None = None
    since_us: int = 0
    from_us: int = 0
    to_us: int = 0
