"""Alembic runs this file; `cluster.stores.db.schema` runs Alembic and brings the connection."""

from __future__ import annotations

from alembic import context

from cluster.stores.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a column in place; batch operations copy the table.
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
