"""Transactions as repositories use them: one session, one commit, our errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from cluster.stores.db.engine import WRITE_OPTION, database_errors
from cluster.stores.db.fence import require_open
from cluster.stores.db.scope import AS_PLATFORM, GROUPS, TENANT, PlatformSession, TenantSession
from cluster.stores.db.types import Groups
from pipelines.moving import SHUT, MovePhase


class Sessions:
    """Makes the sessions of one repository; a repository holds this, never the engine.

    Args:
        engine: where the records are.
        tenant: the only tenant that its sessions see; None: the platform, which sees all.
        as_platform: `tenant` is not one, but names rows that are the platform's own.
        groups: the camera groups whose cameras are all that its sessions see; None: all cameras.
        shut: phases of a move in which `write` refuses.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        tenant: str | None,
        groups: Groups = None,
        *,
        as_platform: bool = False,
        shut: frozenset[MovePhase] = SHUT,
    ) -> None:
        self._reader = engine
        self._writer = engine.execution_options(**{WRITE_OPTION: True})
        self._tenant = tenant
        self._as_platform = as_platform
        self._groups = groups
        self._shut = shut

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A consistent look. Raises UnavailableError, InputError (see `database_errors`)."""
        async with database_errors(), self._session(self._reader) as session, session.begin():
            yield session

    @asynccontextmanager
    async def read_as_stored(self) -> AsyncIterator[AsyncSession]:
        """Like `read`, where text may be anything that somebody wrote into SQLite's file: bytes
        that are no UTF-8 arrive as surrogates, and are no error. Use columns only, not entities."""
        async with self.read() as session:
            pooled = await (await session.connection()).get_raw_connection()
            driver = pooled.driver_connection
            if not isinstance(driver, aiosqlite.Connection):
                yield session
                return
            before, driver.text_factory = driver.text_factory, _with_surrogates
            try:
                yield session
            finally:
                driver.text_factory = before

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that commits at the end of the block, or leaves no trace. Raises as
        `read` does, and TenantMovingError: the tenant is on its way to another cluster."""
        async with database_errors(), self._session(self._writer) as session, session.begin():
            if self._tenant is not None and not self._as_platform and self._shut:
                await require_open(session, self._tenant, self._shut)
            yield session

    def _session(self, engine: AsyncEngine) -> AsyncSession:
        if self._tenant is None:
            return AsyncSession(engine, expire_on_commit=False, sync_session_class=PlatformSession)
        return AsyncSession(
            engine,
            expire_on_commit=False,
            sync_session_class=TenantSession,
            info={TENANT: self._tenant, AS_PLATFORM: self._as_platform, GROUPS: self._groups},
        )


def _with_surrogates(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")
