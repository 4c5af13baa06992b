"""How much of the storage each tenant uses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cluster.stores.db.row_security import protect

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "storage_use",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("recordings", sa.BigInteger, nullable=False),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("listed_us", sa.BigInteger, nullable=False),
        sa.Column("measured_us", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.slug"], name="fk_storage_use_tenant_tenants", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("tenant", name="pk_storage_use"),
    )
    protect(op.get_bind(), "storage_use")
    op.create_index("ix_recordings_tenant_size", "recordings", ["tenant", "size"])


def downgrade() -> None:
    op.drop_index("ix_recordings_tenant_size", "recordings")
    op.drop_table("storage_use")
