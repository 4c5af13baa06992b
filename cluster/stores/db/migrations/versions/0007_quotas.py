"""What single tenants may use, where that is not what all may."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "quotas",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.slug"], name="fk_quotas_tenant_tenants", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_quotas"),
    )


def downgrade() -> None:
    op.drop_table("quotas")
