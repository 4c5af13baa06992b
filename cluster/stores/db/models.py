"""The tables. Every row that belongs to a tenant carries the tenant in its primary key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

# Without names of our own, SQLite's batch migrations could not find a constraint to change.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

JsonBody = JSON().with_variant(JSONB(), "postgresql")

GroupIds = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""Ids of camera groups, or NULL: all cameras."""


class SecretText(TypeDecorator[SecretStr]):
    """Text that is a secret in Python, so that a row's repr or a log line cannot show it.

    What is stored is encrypted (`encryption`), or plain text of versions that did not encrypt.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: SecretStr | None, dialect: Dialect) -> str | None:
        return None if value is None else value.get_secret_value()

    def process_result_value(self, value: object, dialect: Dialect) -> SecretStr | None:
        if value is None:
            return None
        # SQLite accepts anything in any column. What is no text is no secret of ours.
        return SecretStr(value if isinstance(value, str) else "")


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class TenantRow(Base):
    __tablename__ = "tenants"

    slug: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    created_us: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    """Counter from which camera plans take their revision: it lives here, not with the camera,
    so that it keeps rising for a camera that is removed and added again."""
    move_phase: Mapped[str | None] = mapped_column(String(16))
    """`pipelines.moving.MovePhase`; NULL: it lives here, and nobody moves it."""
    move_pod: Mapped[str | None] = mapped_column(String(40))
    """The cluster at the other end of the move."""
    move_since_us: Mapped[int | None] = mapped_column(BigInteger)
    move_run: Mapped[str | None] = mapped_column(String(32))
    """Who moves it: a command that began later takes over."""


class TenantOwned:
    """Mixin of every table whose rows belong to a tenant; `scope.py` adds the filter by it."""

    tenant: Mapped[str] = mapped_column(
        String(40), ForeignKey("tenants.slug", ondelete="RESTRICT"), primary_key=True
    )


class CameraRow(TenantOwned, Base):
    __tablename__ = "cameras"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    url: Mapped[SecretStr] = mapped_column(SecretText)
    substream_url: Mapped[SecretStr | None] = mapped_column(SecretText)
    detect_fps: Mapped[float] = mapped_column(Double)
    attention: Mapped[bool] = mapped_column(server_default=false())
    detect_fps_min: Mapped[float] = mapped_column(Double, server_default=text("0.5"))
    detect_fps_max: Mapped[float] = mapped_column(Double, server_default=text("12"))
    enabled: Mapped[bool]
    revision: Mapped[int] = mapped_column(BigInteger)
    recording: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    masks: Mapped[list[Any]] = mapped_column(JsonBody)
    masks_since_us: Mapped[int | None] = mapped_column(BigInteger)
    created_us: Mapped[int] = mapped_column(BigInteger)

    rules: Mapped[list[RuleRow]] = relationship(
        lazy="raise", viewonly=True, order_by=lambda: (RuleRow.created_us, RuleRow.id)
    )


class RuleRow(TenantOwned, Base):
    __tablename__ = "rules"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "camera"], ["cameras.tenant", "cameras.id"], ondelete="CASCADE"
        ),
    )

    camera: Mapped[str] = mapped_column(String(40), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    body: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    created_us: Mapped[int] = mapped_column(BigInteger)


class QuotaRow(TenantOwned, Base):
    """A limit of one tenant, in place of that of all."""

    __tablename__ = "quotas"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)


class AlarmRow(TenantOwned, Base):
    """An alarm outlives its camera and rule, hence no foreign key to them.

    `body` is the message as it was published; the columns beside it are what queries filter by.
    """

    __tablename__ = "alarms"
    __table_args__ = (
        CheckConstraint("state IN ('new', 'acknowledged')", name="state"),
        Index(None, "tenant", "capture_us", "id"),
        Index(None, "tenant", "camera", "capture_us", "id"),
        Index(
            "ix_alarms_with_snapshot",
            "tenant",
            "camera",
            "capture_us",
            "id",
            sqlite_where=text("snapshot IS NOT NULL"),
            postgresql_where=text("snapshot IS NOT NULL"),
        ),
        Index(None, "tenant", "camera", "track"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    camera: Mapped[str] = mapped_column(String(40))
    rule: Mapped[str] = mapped_column(String(40))
    track: Mapped[str | None] = mapped_column(Text)
    """As in `body`. Erasure looks for the alarms that an object raised."""
    capture_us: Mapped[int] = mapped_column(BigInteger)
    snapshot: Mapped[str | None] = mapped_column(String(512))
    """As in `body`. Retention looks for pictures that are still kept."""
    replaced: Mapped[UUID | None] = mapped_column(Uuid)
    """The job's alarm whose place it took: picture and clip of that one may still be there."""
    masks_us: Mapped[int | None] = mapped_column(BigInteger)
    """Masks were painted into its picture afterwards, as of a recording."""
    body: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    state: Mapped[str] = mapped_column(String(16))
    acknowledged_by: Mapped[str | None] = mapped_column(String(200))
    acknowledged_at_us: Mapped[int | None] = mapped_column(BigInteger)
    recorded_us: Mapped[int] = mapped_column(BigInteger)


class RecordingRow(TenantOwned, Base):
    """A file of a recording. It outlives its camera, like alarms do."""

    __tablename__ = "recordings"
    __table_args__ = (
        Index(None, "tenant", "camera", "end_us"),
        # Sums up what a tenant's recordings need: 30 times as fast as from the rows.
        Index(None, "tenant", "size"),
    )

    camera: Mapped[str] = mapped_column(String(40), primary_key=True)
    start_us: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    end_us: Mapped[int] = mapped_column(BigInteger)
    origin_us: Mapped[int] = mapped_column(BigInteger)
    codec: Mapped[str] = mapped_column(String(16))
    width: Mapped[int]
    height: Mapped[int]
    frames: Mapped[int]
    audio: Mapped[str | None] = mapped_column(String(16))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    blob: Mapped[str] = mapped_column(String(512))
    masked: Mapped[bool]
    masks_us: Mapped[int | None] = mapped_column(BigInteger)
    """Of masks that were painted into it afterwards: since when its camera had had them."""
    note: Mapped[str] = mapped_column(String(200))
    recorded_us: Mapped[int] = mapped_column(BigInteger)


class ObjectRow(TenantOwned, Base):
    """One object that was seen: a whole track, in one row. Times of first and last sight grow while
    it is in sight. A track's key is unique within its camera only."""

    __tablename__ = "objects"
    __table_args__ = (
        Index(None, "tenant", "first_seen_us", "camera", "track"),
        Index(None, "tenant", "camera", "first_seen_us", "track"),
        Index(None, "tenant", "track"),
        Index(
            "ix_objects_with_snapshot",
            "tenant",
            "camera",
            "first_seen_us",
            "track",
            sqlite_where=text("snapshot IS NOT NULL"),
            postgresql_where=text("snapshot IS NOT NULL"),
        ),
        Index(
            "ix_objects_by_snapshot",
            "tenant",
            "snapshot",
            sqlite_where=text("snapshot IS NOT NULL"),
            postgresql_where=text("snapshot IS NOT NULL"),
        ),
    )

    camera: Mapped[str] = mapped_column(String(40), primary_key=True)
    track: Mapped[str] = mapped_column(String(255), primary_key=True)
    label: Mapped[str] = mapped_column(String(64))
    confidence: Mapped[float] = mapped_column(Double)
    first_seen_us: Mapped[int] = mapped_column(BigInteger)
    last_seen_us: Mapped[int] = mapped_column(BigInteger)
    colour: Mapped[str | None] = mapped_column(String(16))
    box: Mapped[list[float]] = mapped_column(JsonBody)
    snapshot: Mapped[str | None] = mapped_column(String(512))
    masks_us: Mapped[int | None] = mapped_column(BigInteger)
    """None of these masks touches what its picture shows, as of a recording."""
    source: Mapped[str] = mapped_column(String(8))
    recorded_us: Mapped[int] = mapped_column(BigInteger)


class PathRow(TenantOwned, Base):
    """Some seconds of a track's way through the frame. The time in its key lets PostgreSQL
    partition it (or Timescale, as a hypertable)."""

    __tablename__ = "paths"
    __table_args__ = (Index(None, "tenant", "camera", "start_us"),)

    camera: Mapped[str] = mapped_column(String(40), primary_key=True)
    track: Mapped[str] = mapped_column(String(255), primary_key=True)
    start_us: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    label: Mapped[str] = mapped_column(String(64))
    confidence: Mapped[float] = mapped_column(Double)
    end_us: Mapped[int] = mapped_column(BigInteger)
    points: Mapped[list[list[int]]] = mapped_column(JsonBody)
    """Rows of `pipelines.domain.PathPoint`."""
    source: Mapped[str] = mapped_column(String(8))


class AnalysedRow(TenantOwned, Base):
    """When a camera was analysed within five seconds (`pipelines.domain.AnalysedCell`)."""

    __tablename__ = "analysed"

    camera: Mapped[str] = mapped_column(String(40), primary_key=True)
    start_us: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    source: Mapped[str] = mapped_column(String(8), primary_key=True)
    end_us: Mapped[int] = mapped_column(BigInteger)
    times: Mapped[list[int]] = mapped_column(JsonBody)
    tracks: Mapped[int]


class CoverageRow(TenantOwned, Base):
    """How long one thing held of a camera within a quarter of an hour (`pipelines.ledger`). It goes
    with its camera."""

    __tablename__ = "coverage"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "camera"], ["cameras.tenant", "cameras.id"], ondelete="CASCADE"
        ),
        Index(None, "tenant", "start_us"),
    )

    camera: Mapped[str] = mapped_column(String(40), primary_key=True)
    start_us: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    cover: Mapped[str] = mapped_column(String(16), primary_key=True)
    end_us: Mapped[int] = mapped_column(BigInteger)
    """Of its last stretch."""
    total_ms: Mapped[int] = mapped_column(BigInteger)
    stretches: Mapped[list[Any]] = mapped_column(JsonBody)
    """Begin and end of each, in milliseconds after `start_us`."""


class AuditRow(TenantOwned, Base):
    """An entry of the audit log (`cluster.stores.audit`). Triggers, which only the migration knows,
    refuse every change. It outlives its tenant, hence no foreign key; the platform's chain has the
    empty tenant."""

    __tablename__ = "audit"
    __table_args__ = (
        CheckConstraint("outcome IN ('done', 'refused')", name="outcome"),
        Index(None, "tenant", "at_us"),
        Index(None, "tenant", "actor", "sequence"),
        Index(None, "tenant", "action", "sequence"),
    )

    tenant: Mapped[str] = mapped_column(String(40), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at_us: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(40))
    object_kind: Mapped[str] = mapped_column(String(24))
    object_id: Mapped[str] = mapped_column(String(255))
    address: Mapped[str | None] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str | None] = mapped_column(String(300))
    details: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class JobRow(TenantOwned, Base):
    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"
        ),
        Index(None, "tenant", "created_us", "id"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    camera: Mapped[str | None] = mapped_column(String(40))
    """As in `request`."""
    request: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    state: Mapped[str] = mapped_column(String(16))
    progress: Mapped[float] = mapped_column(Double)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JsonBody)
    error: Mapped[str | None] = mapped_column(Text)
    submission: Mapped[str | None] = mapped_column(String(80))
    """Name under which Ray knows the job."""
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)


class PolicyRow(TenantOwned, Base):
    """A tenant's retention policy (`pipelines.retention.RetentionPolicy`)."""

    __tablename__ = "retention_policies"

    body: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    changed_us: Mapped[int] = mapped_column(BigInteger)
    changed_by: Mapped[str] = mapped_column(String(200))


class HoldRow(TenantOwned, Base):
    """A legal hold. A released one stays, as a record of what was held and when."""

    __tablename__ = "holds"
    __table_args__ = (Index(None, "tenant", "created_us", "id"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    camera: Mapped[str | None] = mapped_column(String(40))
    from_us: Mapped[int] = mapped_column(BigInteger)
    to_us: Mapped[int] = mapped_column(BigInteger)
    alarm: Mapped[UUID | None] = mapped_column(Uuid)
    reason: Mapped[str] = mapped_column(String(500))
    created_us: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(String(200))
    released_us: Mapped[int | None] = mapped_column(BigInteger)
    released_by: Mapped[str | None] = mapped_column(String(200))


class AnonymisationRow(TenantOwned, Base):
    """A tenant's anonymisation policy (`pipelines.anonymisation.AnonymisationPolicy`)."""

    __tablename__ = "anonymisation_policies"

    body: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    changed_us: Mapped[int] = mapped_column(BigInteger)
    changed_by: Mapped[str] = mapped_column(String(200))


class RevealRow(TenantOwned, Base):
    """Who may see originals for some minutes. The audit log keeps it for good; rows go."""

    __tablename__ = "reveals"
    __table_args__ = (
        Index(None, "tenant", "created_by", "expires_us"),
        Index(None, "tenant", "created_us", "id"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    camera: Mapped[str] = mapped_column(String(40))
    from_us: Mapped[int] = mapped_column(BigInteger)
    to_us: Mapped[int] = mapped_column(BigInteger)
    alarm: Mapped[UUID | None] = mapped_column(Uuid)
    track: Mapped[str | None] = mapped_column(String(255))
    reason: Mapped[str] = mapped_column(String(500))
    created_us: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(String(200))
    expires_us: Mapped[int] = mapped_column(BigInteger)
    ended_us: Mapped[int | None] = mapped_column(BigInteger)
    ended_by: Mapped[str | None] = mapped_column(String(200))


class RetentionRunRow(TenantOwned, Base):
    """What one run of retention removed of one tenant."""

    __tablename__ = "retention_runs"

    started_us: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ended_us: Mapped[int] = mapped_column(BigInteger)
    space: Mapped[str] = mapped_column(String(16))
    """`pipelines.retention.SpaceState` at the end of the run."""
    complete: Mapped[bool]
    counts: Mapped[list[Any]] = mapped_column(JsonBody)
    error: Mapped[str] = mapped_column(String(500))


class StorageUseRow(TenantOwned, Base):
    """How much of the storage a tenant uses, as retention last measured it."""

    __tablename__ = "storage_use"

    recordings: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int] = mapped_column(BigInteger)
    listed_us: Mapped[int] = mapped_column(BigInteger)
    measured_us: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))


class GroupRow(TenantOwned, Base):
    """A group of cameras (`cluster.stores.db.groups`)."""

    __tablename__ = "camera_groups"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    created_us: Mapped[int] = mapped_column(BigInteger)


class GroupCameraRow(TenantOwned, Base):
    """A camera of a group. It stays when the camera is removed, as what the camera saw does."""

    __tablename__ = "camera_group_members"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "group_id"], ["camera_groups.tenant", "camera_groups.id"], ondelete="CASCADE"
        ),
    )

    group_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    camera: Mapped[str] = mapped_column(String(40), primary_key=True)


_LIMITED_ROLES = "camera_groups IS NULL OR role NOT IN ('admin', 'platform')"


class ErasureRow(TenantOwned, Base):
    """An erasure on request, with its receipt. It outlives its tenant, hence no foreign key."""

    __tablename__ = "erasures"
    __table_args__ = (
        CheckConstraint("kind IN ('objects', 'tenant')", name="kind"),
        CheckConstraint("state IN ('queued', 'running', 'waiting', 'done')", name="state"),
        Index(None, "tenant", "created_us", "id"),
        Index(None, "state"),
    )

    tenant: Mapped[str] = mapped_column(String(40), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    objects: Mapped[int]
    """How many it was asked for; 0 for a tenant."""
    reason: Mapped[str] = mapped_column(String(500))
    created_us: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(8))
    steps: Mapped[list[Any]] = mapped_column(JsonBody)
    counts: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    marked_us: Mapped[int | None] = mapped_column(BigInteger)
    ended_us: Mapped[int | None] = mapped_column(BigInteger)
    receipt: Mapped[dict[str, Any] | None] = mapped_column(JsonBody)


class ErasureItemRow(TenantOwned, Base):
    """One thing that an erasure is about: an object, a file, a stream entry, a vector. They go with
    the end of the erasure. No foreign key: they are worked on until their tenant is gone."""

    __tablename__ = "erasure_items"
    __table_args__ = (
        CheckConstraint("state IN ('found', 'held', 'gone')", name="state"),
        Index(None, "tenant", "erasure", "state", "kind"),
    )

    tenant: Mapped[str] = mapped_column(String(40), primary_key=True)
    erasure: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(600), primary_key=True)
    state: Mapped[str] = mapped_column(String(8))
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Null: not checked yet whether it exists."""
    since_us: Mapped[int] = mapped_column(BigInteger)
    """When a writer of records refused it; 0: the erasure found it."""
    from_us: Mapped[int] = mapped_column(BigInteger)
    to_us: Mapped[int] = mapped_column(BigInteger)
    """Times that it shows."""


class ErasedRow(TenantOwned, Base):
    """That an object was erased: nothing of it is recorded again, and no recording of its time."""

    __tablename__ = "erased"
    __table_args__ = (Index(None, "tenant", "camera", "to_us"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    erasure: Mapped[UUID] = mapped_column(Uuid)
    camera: Mapped[str] = mapped_column(String(40))
    from_us: Mapped[int] = mapped_column(BigInteger)
    to_us: Mapped[int] = mapped_column(BigInteger)


class KeyRow(Base):
    """A key of a tenant, or of the platform where `tenant` is null. `replaced_by`: the key that a
    rotation made of it."""

    __tablename__ = "keys"
    __table_args__ = (
        CheckConstraint(
            "role IN ('admin', 'operator', 'analyst', 'viewer', 'platform')", name="role"
        ),
        CheckConstraint("(tenant IS NULL) = (role = 'platform')", name="owner"),
        CheckConstraint(_LIMITED_ROLES, name="limited"),
    )

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    tenant: Mapped[str | None] = mapped_column(
        String(40), ForeignKey("tenants.slug", ondelete="RESTRICT"), index=True
    )
    label: Mapped[str] = mapped_column(String(120))
    role: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    groups: Mapped[list[str] | None] = mapped_column("camera_groups", GroupIds)
    created_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int | None] = mapped_column(BigInteger)
    last_used_us: Mapped[int | None] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger)
    replaced_by: Mapped[str | None] = mapped_column(String(8))


class UserRow(TenantOwned, Base):
    """Somebody who signs in. `password` is an argon2 hash; empty where they sign in at an identity
    provider, whose own id of them is `subject`."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'operator', 'analyst', 'viewer')", name="role"),
        UniqueConstraint("tenant", "email"),
        UniqueConstraint("tenant", "provider", "subject"),
        CheckConstraint(_LIMITED_ROLES, name="limited"),
    )

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(120))
    role: Mapped[str] = mapped_column(String(16))
    groups: Mapped[list[str] | None] = mapped_column("camera_groups", GroupIds)
    password: Mapped[SecretStr] = mapped_column(SecretText)
    disabled: Mapped[bool]
    created_us: Mapped[int] = mapped_column(BigInteger)
    signed_in_us: Mapped[int | None] = mapped_column(BigInteger)
    provider: Mapped[str | None] = mapped_column(String(40))
    subject: Mapped[str | None] = mapped_column(String(255))


class SessionRow(TenantOwned, Base):
    """A user's session: all refresh tokens that follow from one sign-in. `digest` is that of the
    newest, `generation` its number."""

    __tablename__ = "sessions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "user"], ["users.tenant", "users.id"], ondelete="CASCADE"),
        Index(None, "tenant", "user"),
    )

    id: Mapped[str] = mapped_column(String(22), primary_key=True)
    user: Mapped[str] = mapped_column(String(12))
    digest: Mapped[str] = mapped_column(String(64))
    generation: Mapped[int]
    created_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int] = mapped_column(BigInteger)
    ended_us: Mapped[int | None] = mapped_column(BigInteger)
