"""Tenants that are on their way to another cluster."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "move_phase": sa.String(16),
    "move_pod": sa.String(40),
    "move_since_us": sa.BigInteger(),
    "move_run": sa.String(32),
}


def upgrade() -> None:
    # PostgreSQL: the platform's role may change them. The tenant's may not: it updates columns that
    # are named (0012).
    for name, kind in _COLUMNS.items():
        op.add_column("tenants", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name in reversed(_COLUMNS):
        op.drop_column("tenants", name)
