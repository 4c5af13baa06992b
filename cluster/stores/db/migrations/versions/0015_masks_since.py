"""Since when a camera has its masks; whose place an alarm took; and of users and sessions the
platform's role reads no more than whether a view or a link still is its holder's: no hash of a
password, no digest of a token."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

from cluster.stores.db.row_security import show_columns, show_whole

revision = "0015"
down_revision = "0014"

# What `credentials` needs.
SHOWN = {
    "users": "tenant, id, role, camera_groups, disabled",
    "sessions": 'tenant, id, "user", expires_us, ended_us',
}


def upgrade() -> None:
    connection = op.get_bind()
    for table, columns in SHOWN.items():
        show_columns(connection, table, columns)
    with op.batch_alter_table("cameras") as batch:
        batch.add_column(sa.Column("masks_since_us", sa.BigInteger, nullable=True))
    op.add_column("alarms", sa.Column("replaced", sa.Uuid, nullable=True))
    # Of the masks that are there nobody knows since when: what is older than this is from before
    # them, as far as anybody can tell.
    cameras = sa.table("cameras", sa.column("masks", sa.JSON), sa.column("masks_since_us"))
    masked = sa.cast(cameras.c.masks, sa.Text) != "[]"
    connection.execute(
        cameras.update().where(masked).values(masks_since_us=time.time_ns() // 1_000)
    )


def downgrade() -> None:
    connection = op.get_bind()
    # Not as a batch, which would make the table anew, without its partial index.
    op.drop_column("alarms", "replaced")
    with op.batch_alter_table("cameras") as batch:
        batch.drop_column("masks_since_us")
    for table, columns in SHOWN.items():
        show_whole(connection, table, columns)
