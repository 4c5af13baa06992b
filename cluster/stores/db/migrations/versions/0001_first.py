"""Tenants, cameras, rules, alarms, keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("slug", sa.String(40), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("slug", name="pk_tenants"),
    )
    _create_cameras()
    op.create_table(
        "rules",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "camera", "id", name="pk_rules"),
        _tenant_key("rules"),
        sa.ForeignKeyConstraint(
            ["tenant", "camera"],
            ["cameras.tenant", "cameras.id"],
            name="fk_rules_tenant_camera_cameras",
            ondelete="CASCADE",
        ),
    )
    _create_alarms()
    op.create_table(
        "keys",
        sa.Column("id", sa.String(8), nullable=False),
        sa.Column("tenant", sa.String(40), nullable=True),
        sa.Column("label", sa.String(120), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_us", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        _tenant_key("keys"),
    )
    op.create_index("ix_keys_tenant", "keys", ["tenant"])


def downgrade() -> None:
    for table in ("keys", "alarms", "rules", "cameras", "tenants"):
        op.drop_table(table)


def _tenant_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant"], ["tenants.slug"], name=f"fk_{table}_tenant_tenants", ondelete="RESTRICT"
    )


def _create_cameras() -> None:
    op.create_table(
        "cameras",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("substream_url", sa.Text, nullable=True),
        sa.Column("detect_fps", sa.Double, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_cameras"),
        _tenant_key("cameras"),
    )


def _create_alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("rule", sa.String(40), nullable=False),
        sa.Column("capture_us", sa.BigInteger, nullable=False),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("acknowledged_by", sa.String(200), nullable=True),
        sa.Column("acknowledged_at_us", sa.BigInteger, nullable=True),
        sa.Column("recorded_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_alarms"),
        _tenant_key("alarms"),
        sa.CheckConstraint("state IN ('new', 'acknowledged')", name=op.f("ck_alarms_state")),
    )
    op.create_index("ix_alarms_tenant_capture_us_id", "alarms", ["tenant", "capture_us", "id"])
    op.create_index(
        "ix_alarms_tenant_camera_capture_us_id",
        "alarms",
        ["tenant", "camera", "capture_us", "id"],
    )
