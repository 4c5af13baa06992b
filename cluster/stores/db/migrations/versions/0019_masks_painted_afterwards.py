"""Which recordings and pictures have masks painted into them that were added afterwards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

TABLES = "recordings", "alarms", "objects"


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("masks_us", sa.BigInteger, nullable=True))


def downgrade() -> None:
    # Not as a batch, which would make the tables anew, without their partial indexes.
    for table in TABLES:
        op.drop_column(table, "masks_us")
