"""How long each camera was analysed and blind, by quarter of an hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from cluster.stores.db.row_security import protect

revision = "0017"
down_revision = "0016"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "coverage",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("start_us", sa.BigInteger, nullable=False),
        sa.Column("cover", sa.String(16), nullable=False),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("total_ms", sa.BigInteger, nullable=False),
        sa.Column("stretches", _JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.slug"], name="fk_coverage_tenant_tenants", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "camera"],
            ["cameras.tenant", "cameras.id"],
            name="fk_coverage_tenant_camera_cameras",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "camera", "start_us", "cover", name="pk_coverage"),
    )
    op.create_index("ix_coverage_tenant_start_us", "coverage", ["tenant", "start_us"])
    protect(op.get_bind(), "coverage")


def downgrade() -> None:
    op.drop_index("ix_coverage_tenant_start_us", "coverage")
    op.drop_table("coverage")
