"""Roles, expiry and last use of keys. Keys of earlier versions are their tenant's admins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("keys") as keys:
        keys.add_column(sa.Column("role", sa.String(16), nullable=True))
        keys.add_column(sa.Column("expires_us", sa.BigInteger, nullable=True))
        keys.add_column(sa.Column("last_used_us", sa.BigInteger, nullable=True))
    op.execute("UPDATE keys SET role = CASE WHEN tenant IS NULL THEN 'platform' ELSE 'admin' END")
    with op.batch_alter_table("keys") as keys:
        keys.alter_column("role", existing_type=sa.String(16), nullable=False)
        keys.create_check_constraint(
            op.f("ck_keys_role"), "role IN ('admin', 'operator', 'analyst', 'viewer', 'platform')"
        )
        keys.create_check_constraint(
            op.f("ck_keys_owner"), "(tenant IS NULL) = (role = 'platform')"
        )


def downgrade() -> None:
    # A key of less than everything must not become one of everything.
    op.execute(
        "UPDATE keys SET revoked_us = created_us "
        "WHERE revoked_us IS NULL AND (role NOT IN ('admin', 'platform') OR expires_us IS NOT NULL)"
    )
    with op.batch_alter_table("keys") as keys:
        keys.drop_constraint(op.f("ck_keys_role"), type_="check")
        keys.drop_constraint(op.f("ck_keys_owner"), type_="check")
        for column in ("role", "expires_us", "last_used_us"):
            keys.drop_column(column)
