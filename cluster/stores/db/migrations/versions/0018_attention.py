"""Cameras whose frames are analysed by what moves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    # The defaults stay: a process of the version before adds cameras without these columns.
    on = sa.Column("attention", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("cameras", on)
    for name, default in (("detect_fps_min", "0.5"), ("detect_fps_max", "12")):
        column = sa.Column(name, sa.Double, nullable=False, server_default=sa.text(default))
        op.add_column("cameras", column)


def downgrade() -> None:
    for name in ("detect_fps_max", "detect_fps_min", "attention"):
        op.drop_column("cameras", name)
