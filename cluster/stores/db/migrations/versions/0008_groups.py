"""Groups of cameras, and the users and keys limited to them; those of earlier versions have
all cameras. And the camera of a job, which was only in its request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

_LIMITED = ("keys", "users")


def _group_ids() -> sa.Column[object]:
    kind = sa.JSON(none_as_null=True).with_variant(
        postgresql.JSONB(none_as_null=True), "postgresql"
    )
    return sa.Column("camera_groups", kind, nullable=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("camera", sa.String(40), nullable=True))
    sqlite = op.get_bind().dialect.name == "sqlite"
    named = "json_extract(request, '$.camera')" if sqlite else "request ->> 'camera'"
    op.execute(f"UPDATE jobs SET camera = {named}")
    op.create_table(
        "camera_groups",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_camera_groups"),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.slug"],
            name="fk_camera_groups_tenant_tenants",
            ondelete="RESTRICT",
        ),
        sa.UniqueConstraint("tenant", "name", name="uq_camera_groups_tenant_name"),
    )
    op.create_table(
        "camera_group_members",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("group_id", sa.String(40), nullable=False),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "group_id", "camera", name="pk_camera_group_members"),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.slug"],
            name="fk_camera_group_members_tenant_tenants",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "group_id"],
            ["camera_groups.tenant", "camera_groups.id"],
            name="fk_camera_group_members_tenant_group_id_camera_groups",
            ondelete="CASCADE",
        ),
    )
    for name in _LIMITED:
        with op.batch_alter_table(name) as table:
            table.add_column(_group_ids())
            table.create_check_constraint(
                op.f(f"ck_{name}_limited"),
                "camera_groups IS NULL OR role NOT IN ('admin', 'platform')",
            )


def downgrade() -> None:
    # Who sees some cameras must not come to see all of them.
    op.execute(
        "UPDATE keys SET revoked_us = created_us "
        "WHERE revoked_us IS NULL AND camera_groups IS NOT NULL"
    )
    op.execute("UPDATE users SET disabled = true WHERE camera_groups IS NOT NULL")
    for name in _LIMITED:
        with op.batch_alter_table(name) as table:
            table.drop_constraint(op.f(f"ck_{name}_limited"), type_="check")
            table.drop_column("camera_groups")
    op.drop_table("camera_group_members")
    op.drop_table("camera_groups")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("camera")
