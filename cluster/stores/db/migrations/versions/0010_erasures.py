"""Erasures on request; which object raised an alarm."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("alarms", sa.Column("track", sa.Text, nullable=True))
    sqlite = op.get_bind().dialect.name == "sqlite"
    known = "json_extract(body, '$.track')" if sqlite else "body ->> 'track'"
    op.execute(f"UPDATE alarms SET track = {known}")
    op.create_index("ix_alarms_tenant_camera_track", "alarms", ["tenant", "camera", "track"])
    _create_erasures()
    _create_items()
    _create_erased()


def downgrade() -> None:
    for table in ("erased", "erasure_items", "erasures"):
        op.drop_table(table)
    op.drop_index("ix_alarms_tenant_camera_track", "alarms")
    # Without a copy of the table: no constraint is on this column.
    op.drop_column("alarms", "track")


def _create_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("objects", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("steps", _JSON, nullable=False),
        sa.Column("counts", _JSON, nullable=False),
        sa.Column("marked_us", sa.BigInteger, nullable=True),
        sa.Column("ended_us", sa.BigInteger, nullable=True),
        sa.Column("receipt", _JSON, nullable=True),
        sa.CheckConstraint("kind IN ('objects', 'tenant')", name="kind"),
        sa.CheckConstraint("state IN ('queued', 'running', 'waiting', 'done')", name="state"),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_erasures"),
    )
    op.create_index("ix_erasures_tenant_created_us_id", "erasures", ["tenant", "created_us", "id"])
    op.create_index("ix_erasures_state", "erasures", ["state"])


def _create_items() -> None:
    op.create_table(
        "erasure_items",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("erasure", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("key", sa.String(600), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=True),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("to_us", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('found', 'held', 'gone')", name="state"),
        sa.PrimaryKeyConstraint("tenant", "erasure", "kind", "key", name="pk_erasure_items"),
    )
    op.create_index(
        "ix_erasure_items_tenant_erasure_state_kind",
        "erasure_items",
        ["tenant", "erasure", "state", "kind"],
    )


def _create_erased() -> None:
    op.create_table(
        "erased",
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("erasure", sa.Uuid, nullable=False),
        sa.Column("camera", sa.String(40), nullable=False),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("to_us", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.slug"], name="fk_erased_tenant_tenants", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("tenant", "digest", name="pk_erased"),
    )
    op.create_index("ix_erased_tenant_camera_to_us", "erased", ["tenant", "camera", "to_us"])
