"""Roles, expiry and last use of keys; users and their sessions. Keys of earlier versions are their
tenant's admins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


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
    op.create_table(
        "users",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("signed_in_us", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_users"),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.slug"], name="fk_users_tenant_tenants", ondelete="RESTRICT"
        ),
        sa.UniqueConstraint("tenant", "email", name="uq_users_tenant_email"),
        sa.CheckConstraint(
            "role IN ('admin', 'operator', 'analyst', 'viewer')", name=op.f("ck_users_role")
        ),
    )
    op.create_table(
        "sessions",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("id", sa.String(22), nullable=False),
        sa.Column("user", sa.String(12), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_sessions"),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.slug"], name="fk_sessions_tenant_tenants", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "user"],
            ["users.tenant", "users.id"],
            name="fk_sessions_tenant_user_users",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_sessions_tenant_user", "sessions", ["tenant", "user"])


def downgrade() -> None:
    op.drop_table("sessions")
    op.drop_table("users")
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
