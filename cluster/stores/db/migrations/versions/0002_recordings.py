"""Recordings and masks of cameras; the index of recordings; objects, their paths, and jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
# What a camera records that was added before it could be said: the default of that time.
_ON_ALARM = (
    '{"mode": "alarm", "pre_roll_s": 5.0, "post_roll_s": 10.0, '
    '"schedule": null, "audio": false, "masked": "transcode"}'
)


def upgrade() -> None:
    with op.batch_alter_table("cameras") as cameras:
        cameras.add_column(sa.Column("recording", _JSON, nullable=False, server_default=_ON_ALARM))
        cameras.add_column(sa.Column("masks", _JSON, nullable=False, server_default="[]"))
    # The default was for the rows that were there; from now on the application says it.
    with op.batch_alter_table("cameras") as cameras:
        cameras.alter_column("recording", existing_type=_JSON, server_default=None)
        cameras.alter_column("masks", existing_type=_JSON, server_default=None)
    _create_recordings()
    _create_objects()
    _create_paths()
    _create_jobs()


def downgrade() -> None:
    for table in ("jobs", "paths", "objects", "recordings"):
        op.drop_table(table)
    with op.batch_alter_table("cameras") as cameras:
        cameras.drop_column("masks")
        cameras.drop_column("recording")


def _tenant(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    return sa.Column("tenant", sa.String(40), nullable=False), sa.ForeignKeyConstraint(
        ["tenant"], ["tenants.slug"], name=f"fk_{table}_tenant_tenants", ondelete="RESTRICT"
    )


def _create_recordings() -> None:
    op.create_table(
        "recordings",
        *_tenant("recordings"),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("start_us", sa.BigInteger, nullable=False),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("origin_us", sa.BigInteger, nullable=False),
        sa.Column("codec", sa.String(16), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("audio", sa.String(16), nullable=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("blob", sa.String(512), nullable=False),
        sa.Column("masked", sa.Boolean, nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
        sa.Column("recorded_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "camera", "start_us", name="pk_recordings"),
    )
    op.create_index(
        "ix_recordings_tenant_camera_end_us", "recordings", ["tenant", "camera", "end_us"]
    )


def _create_objects() -> None:
    op.create_table(
        "objects",
        *_tenant("objects"),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("track", sa.String(255), nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("first_seen_us", sa.BigInteger, nullable=False),
        sa.Column("last_seen_us", sa.BigInteger, nullable=False),
        sa.Column("colour", sa.String(16), nullable=True),
        sa.Column("box", _JSON, nullable=False),
        sa.Column("snapshot", sa.String(512), nullable=True),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("recorded_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "camera", "track", name="pk_objects"),
    )
    for columns in (
        ["tenant", "first_seen_us", "camera", "track"],
        ["tenant", "camera", "first_seen_us", "track"],
        ["tenant", "track"],
    ):
        op.create_index(f"ix_objects_{'_'.join(columns)}", "objects", columns)


def _create_paths() -> None:
    op.create_table(
        "paths",
        *_tenant("paths"),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("track", sa.String(255), nullable=False),
        sa.Column("start_us", sa.BigInteger, nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("points", _JSON, nullable=False),
        sa.Column("source", sa.String(8), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "camera", "track", "start_us", name="pk_paths"),
    )
    op.create_index("ix_paths_tenant_camera_start_us", "paths", ["tenant", "camera", "start_us"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        *_tenant("jobs"),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("request", _JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("summary", _JSON, nullable=True),
        sa.Column("error", sa.Text, nullable=True),
        sa.Column("submission", sa.String(80), nullable=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_jobs"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
    )
    op.create_index("ix_jobs_tenant_created_us_id", "jobs", ["tenant", "created_us", "id"])
