"""Anonymisation: policies and reveals; when cameras were analysed; which object a picture is of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "anonymisation_policies",
        *_tenant("anonymisation_policies"),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_anonymisation_policies"),
    )
    op.create_table(
        "reveals",
        *_tenant("reveals"),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("to_us", sa.BigInteger, nullable=False),
        sa.Column("alarm", sa.Uuid, nullable=True),
        sa.Column("track", sa.String(255), nullable=True),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger, nullable=True),
        sa.Column("ended_by", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_reveals"),
    )
    op.create_index(
        "ix_reveals_tenant_created_by_expires_us",
        "reveals",
        ["tenant", "created_by", "expires_us"],
    )
    op.create_index("ix_reveals_tenant_created_us_id", "reveals", ["tenant", "created_us", "id"])
    op.create_table(
        "analysed",
        *_tenant("analysed"),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("start_us", sa.BigInteger, nullable=False),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("times", _JSON, nullable=False),
        sa.Column("tracks", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "camera", "start_us", "source", name="pk_analysed"),
    )
    where = sa.text("snapshot IS NOT NULL")
    op.create_index(
        "ix_objects_by_snapshot",
        "objects",
        ["tenant", "snapshot"],
        sqlite_where=where,
        postgresql_where=where,
    )


def downgrade() -> None:
    op.drop_index("ix_objects_by_snapshot", "objects")
    for table in ("analysed", "reveals", "anonymisation_policies"):
        op.drop_table(table)


def _tenant(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    return sa.Column("tenant", sa.String(40), nullable=False), sa.ForeignKeyConstraint(
        ["tenant"], ["tenants.slug"], name=f"fk_{table}_tenant_tenants", ondelete="RESTRICT"
    )
