"""Brings a database's tables to the shape that this version of the code expects.

Whoever migrates imports Alembic; the many processes that only read and write records do not. It
takes 0.4 s of processor time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from cluster.stores.db.engine import WRITE_OPTION, database_errors, open_engine
from cluster.stores.db.row_security import see_all_rows
from pipelines.errors import UnavailableError

if TYPE_CHECKING:
    from alembic.config import Config

# Any constant of ours: two processes that migrate one PostgreSQL at once take turns by it.
_ADVISORY_LOCK = 0x41544C  # "ATL"


async def migrate(url: str) -> None:
    """Upgrade to the newest revision; from empty, from any older one, or from the newest itself.

    Raises:
        ConfigError: the URL cannot be used, or roles are missing that its login may not make.
        UnavailableError: the database is away, or newer than this code.
    """
    from alembic import command

    await _run(url, lambda config: command.upgrade(config, "head"))


async def downgrade(url: str, revision: str = "base") -> None:
    """Step back to `revision`; "base" removes every table, and with them every record."""
    from alembic import command

    await _run(url, lambda config: command.downgrade(config, revision))


async def current(url: str) -> str | None:
    """The revision that the database is at, or None where it has no tables yet."""
    from alembic.runtime.migration import MigrationContext

    engine = open_engine(url)
    try:
        async with database_errors(), engine.connect() as connection:
            return await connection.run_sync(
                lambda sync: MigrationContext.configure(sync).get_current_revision()
            )
    finally:
        await engine.dispose()


def head() -> str:
    """The revision that this code expects."""
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise AssertionError("the package holds no migrations")
    return revision


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "cluster.stores.db:migrations")
    config.attributes["connection"] = connection
    return config


async def _run(url: str, step: Callable[[Config], None]) -> None:
    # Foreign keys are off meanwhile: to change a table, SQLite has to copy and drop it, and the
    # drop would cascade.
    engine = open_engine(url, foreign_keys=False).execution_options(**{WRITE_OPTION: True})
    try:
        async with database_errors(timeout_s=None), engine.begin() as connection:
            await connection.run_sync(_migrate, step)
    finally:
        await engine.dispose()


def _migrate(connection: Connection, step: Callable[[Config], None]) -> None:
    """All steps in one transaction: a failure leaves the tables as they were."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        see_all_rows(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in known:
        raise UnavailableError(
            f"the database is at revision {found}, which this version of Atalaia does not know.",
            hint="Run the newer version that migrated it.",
        )
    step(_config(connection))
    if sqlite and (broken := connection.execute(text("PRAGMA foreign_key_check")).all()):
        raise AssertionError(f"the migration broke {len(broken)} references")
