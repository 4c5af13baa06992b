"""Retention: policies, legal holds, runs; and which alarms still have their picture."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_WITH_SNAPSHOT = (
    ("ix_alarms_with_snapshot", "alarms", ["tenant", "camera", "capture_us", "id"]),
    ("ix_objects_with_snapshot", "objects", ["tenant", "camera", "first_seen_us", "track"]),
)


def upgrade() -> None:
    op.add_column("alarms", sa.Column("snapshot", sa.String(512), nullable=True))
    sqlite = op.get_bind().dialect.name == "sqlite"
    known = "json_extract(body, '$.snapshot')" if sqlite else "body ->> 'snapshot'"
    op.execute(f"UPDATE alarms SET snapshot = {known} WHERE {known} IS NOT NULL")
    for name, table, columns in _WITH_SNAPSHOT:
        where = sa.text("snapshot IS NOT NULL")
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    _create_policies()
    _create_holds()
    _create_runs()


def downgrade() -> None:
    for table in ("retention_runs", "holds", "retention_policies"):
        op.drop_table(table)
    for name, table, _ in _WITH_SNAPSHOT:
        op.drop_index(name, table)
    with op.batch_alter_table("alarms") as alarms:
        alarms.drop_column("snapshot")


def _tenant(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    return sa.Column("tenant", sa.String(40), nullable=False), sa.ForeignKeyConstraint(
        ["tenant"], ["tenants.slug"], name=f"fk_{table}_tenant_tenants", ondelete="RESTRICT"
    )


def _create_policies() -> None:
    op.create_table(
        "retention_policies",
        *_tenant("retention_policies"),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_retention_policies"),
    )


def _create_holds() -> None:
    op.create_table(
        "holds",
        *_tenant("holds"),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("camera", sa.String(40), nullable=True),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("to_us", sa.BigInteger, nullable=False),
        sa.Column("alarm", sa.Uuid, nullable=True),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("released_us", sa.BigInteger, nullable=True),
        sa.Column("released_by", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_holds"),
    )
    op.create_index("ix_holds_tenant_created_us_id", "holds", ["tenant", "created_us", "id"])


def _create_runs() -> None:
    op.create_table(
        "retention_runs",
        *_tenant("retention_runs"),
        sa.Column("started_us", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("ended_us", sa.BigInteger, nullable=False),
        sa.Column("space", sa.String(16), nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("counts", _JSON, nullable=False),
        sa.Column("error", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "started_us", name="pk_retention_runs"),
    )
