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
    Uuid,
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


class SecretText(TypeDecorator[SecretStr]):
    """Text that is a secret in Python, so that a row's repr or a log line cannot show it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: SecretStr | None, dialect: Dialect) -> str | None:
        return None if value is None else value.get_secret_value()

    def process_result_value(self, value: str | None, dialect: Dialect) -> SecretStr | None:
        return None if value is None else SecretStr(value)


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
    enabled: Mapped[bool]
    revision: Mapped[int] = mapped_column(BigInteger)
    recording: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    masks: Mapped[list[Any]] = mapped_column(JsonBody)
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
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    camera: Mapped[str] = mapped_column(String(40))
    rule: Mapped[str] = mapped_column(String(40))
    capture_us: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    state: Mapped[str] = mapped_column(String(16))
    acknowledged_by: Mapped[str | None] = mapped_column(String(200))
    acknowledged_at_us: Mapped[int | None] = mapped_column(BigInteger)
    recorded_us: Mapped[int] = mapped_column(BigInteger)


class RecordingRow(TenantOwned, Base):
    """A file of a recording. It outlives its camera, like alarms do."""

    __tablename__ = "recordings"
    __table_args__ = (Index(None, "tenant", "camera", "end_us"),)

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
    source: Mapped[str] = mapped_column(String(8))
    recorded_us: Mapped[int] = mapped_column(BigInteger)


class PathRow(TenantOwned, Base):
    """Some seconds of a track's way through the picture. The time in its key lets PostgreSQL
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
    request: Mapped[dict[str, Any]] = mapped_column(JsonBody)
    state: Mapped[str] = mapped_column(String(16))
    progress: Mapped[float] = mapped_column(Double)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JsonBody)
    error: Mapped[str | None] = mapped_column(Text)
    submission: Mapped[str | None] = mapped_column(String(80))
    """Name under which Ray knows the job."""
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)


class KeyRow(Base):
    """A key of a tenant, or of the platform where `tenant` is null."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    tenant: Mapped[str | None] = mapped_column(
        String(40), ForeignKey("tenants.slug", ondelete="RESTRICT"), index=True
    )
    label: Mapped[str] = mapped_column(String(120))
    digest: Mapped[str] = mapped_column(String(64))
    created_us: Mapped[int] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger)
