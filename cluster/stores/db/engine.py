"""Engines for SQLite and PostgreSQL that behave alike, and database errors as ours."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cluster.core.aio import keep_cancellation
from pipelines.errors import ConfigError, ConflictError, InputError, UnavailableError

# Longer than any healthy statement of ours (the slowest on SQLite: 100 alarms recorded in 36 ms, a
# page of 500 out of 22,000 in 23 ms), shorter than a client's patience.
OPERATION_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 5
# A writer of SQLite waits this long for another one; below OPERATION_TIMEOUT_S so that it decides.
SQLITE_BUSY_TIMEOUT_MS = 10_000

WRITE_OPTION = "atalaia_write"

# At DEBUG this driver logs every statement with its values, camera URLs among them.
logging.getLogger("aiosqlite").setLevel(logging.INFO)

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
_MIGRATE_HINT = "Run `atalaia migrate` if the tables are missing."


def parse_database_url(url: str) -> URL:
    """The URL with the driver that we use. Raises ConfigError, which never shows a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "database.url is not a URL.", hint="Use postgresql+psycopg://user:password@host/name."
        ) from None
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None or parsed.drivername not in (driver, parsed.get_backend_name()):
        raise ConfigError(
            f"database.url names {parsed.drivername!r}, which is not supported.",
            hint=f"Use one of {', '.join(sorted(_DRIVERS.values()))}.",
        )
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise ConfigError(
            "database.url names an SQLite database in memory, which its connections cannot share.",
            hint="Name a file, like sqlite+aiosqlite:////var/lib/atalaia/atalaia.db.",
        )
    return parsed.set(drivername=driver)


def open_engine(url: str, *, foreign_keys: bool = True) -> AsyncEngine:
    """An engine for `url`. Raises ConfigError. Connects to nothing yet.

    Args:
        url: see `parse_database_url`.
        foreign_keys: whether SQLite enforces references; PostgreSQL always does.
    """
    parsed = parse_database_url(url)
    # Parameters hold camera URLs with credentials, and errors are logged.
    common: dict[str, Any] = {"hide_parameters": True}
    if parsed.get_backend_name() == "sqlite":
        _prepare_file(Path(str(parsed.database)))
        engine = create_async_engine(parsed, **common)
        event.listen(engine.sync_engine, "connect", partial(_configure_sqlite, foreign_keys))
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return create_async_engine(
        parsed,
        pool_pre_ping=True,
        pool_timeout=CONNECT_TIMEOUT_S,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        **common,
    )


async def compact(engine: AsyncEngine) -> bool:
    """Rebuild an SQLite file, so that free pages and the write-ahead log hold no earlier content of
    any row. PostgreSQL is left to its own VACUUM.

    Returns:
        False if others were reading or writing all the time, so that some of it may be left.

    Raises:
        UnavailableError: it could not be rebuilt, for lack of disk space, say.
    """
    if engine.dialect.name != "sqlite":
        return True
    async with database_errors(timeout_s=None), engine.connect() as connection:
        # Past SQLAlchemy, which would begin a transaction, in which neither of them works.
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is None:
            raise AssertionError("a pooled connection has its driver's")
        try:
            await driver.execute("VACUUM")
            async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)") as cursor:
                (busy, *_) = await cursor.fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise UnavailableError(
                    f"the database file cannot be rebuilt: {error}.",
                    hint="It needs as much free disk space again.",
                ) from None
            return False
    return not busy


def _prepare_file(path: Path) -> None:
    """Make the file before SQLite does: it holds credentials, so nobody else may read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write the database file {path}: {error.strerror}.") from error


def _configure_sqlite(foreign_keys: bool, connection: Any, _record: object) -> None:
    # The driver's own transaction handling starts one too late (only before DML), so it is
    # switched off here and `_begin_sqlite` says BEGIN.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
        # FULL, not the usual NORMAL of WAL: a bus entry is acknowledged after this commit, so the
        # commit must outlive a power cut.
        "synchronous=FULL",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another one wrote in
    # between, whatever the busy time-out. One that will write must therefore say so at its start.
    write = connection.get_execution_options().get(WRITE_OPTION, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@asynccontextmanager
async def database_errors(
    timeout_s: float | None = OPERATION_TIMEOUT_S,
) -> AsyncIterator[None]:
    """Bound the time of a block of database work, and raise our errors in place of SQLAlchemy's.

    Raises:
        UnavailableError: the database is away, busy for too long, or not migrated.
        ConflictError: a value breaks a constraint.
        InputError: it does not take a value (a NUL in text, a number out of range).
    """
    try:
        async with asyncio.timeout(timeout_s):
            with keep_cancellation():
                yield
    # `from None`: a driver's message may quote the row, and a camera's row holds credentials.
    except IntegrityError as error:
        raise ConflictError(f"the database refuses it: {_reason(error)}.") from None
    except (TimeoutError, PoolTimeoutError):
        raise UnavailableError("the database did not answer in time.") from None
    except (DataError, OverflowError):
        raise InputError("the database does not take one of the values.") from None
    # DatabaseError itself: SQLite's file is damaged.
    except (DatabaseError, InterfaceError) as error:
        raise UnavailableError(
            f"the database cannot be used: {_reason(error)}.", hint=_MIGRATE_HINT
        ) from None


def _reason(error: DBAPIError) -> str:
    """A short cause that holds no row and no credential."""
    code = getattr(error.orig, "sqlstate", None)
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig)
    return f"{type(error.orig).__name__}" + (f" (SQLSTATE {code})" if code else "")
