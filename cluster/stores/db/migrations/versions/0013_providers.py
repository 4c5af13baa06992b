"""Users who sign in at an identity provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("provider", sa.String(40), nullable=True))
        users.add_column(sa.Column("subject", sa.String(255), nullable=True))
        users.create_unique_constraint(
            "uq_users_tenant_provider_subject", ["tenant", "provider", "subject"]
        )


def downgrade() -> None:
    # They have no password, and an earlier version knows no other way in. Their rows stay, so that
    # records still name them; an admin can set a password.
    with op.batch_alter_table("users") as users:
        users.drop_constraint("uq_users_tenant_provider_subject", type_="unique")
        users.drop_column("subject")
        users.drop_column("provider")
