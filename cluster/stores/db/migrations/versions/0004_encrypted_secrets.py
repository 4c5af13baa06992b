"""From here on the URLs of cameras may be encrypted. No table changes: the columns were text.

The revision keeps versions that would take encrypted text for a URL from running on this database.
What is there is encrypted by `atalaia database re-encrypt`, because a migration has no key; and
when it is written.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pipelines.errors import ConflictError

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    pass


def downgrade() -> None:
    """Raises ConflictError: something is encrypted, which the version before cannot read."""
    cameras = sa.table("cameras", sa.column("url", sa.Text), sa.column("substream_url", sa.Text))
    encrypted = sa.or_(*(column.like("enc1.%") for column in cameras.columns))
    statement = sa.select(sa.func.count()).select_from(cameras).where(encrypted)
    if count := op.get_bind().execute(statement).scalar_one():
        raise ConflictError(
            f"{count} cameras have an encrypted URL, which the version before cannot read.",
            hint="Restore the backup of before the upgrade, or remove these cameras.",
        )
