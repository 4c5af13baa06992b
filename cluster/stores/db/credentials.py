"""Which keys and sessions still work, by their ids: for what was given for them and outlives the
request."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from cluster.core.holders import Credential, CredentialKind
from cluster.stores.db import keys
from cluster.stores.db.key_records import principal_of_key
from cluster.stores.db.models import KeyRow, SessionRow, TenantRow, UserRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.types import Principal
from cluster.stores.db.user_sessions import principal_of
from pipelines.clock import Clock

# SQLite takes 32,766 parameters in a statement.
MAX_BATCH = 500


class Credentials:
    """Of all tenants. Made by `Database.credentials`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    async def principals(self, wanted: Collection[Credential]) -> dict[Credential, Principal]:
        """Those that work, and what their holders may do now."""
        found: dict[Credential, Principal] = {}
        async with self._sessions.read() as session:
            for ids in _ids(wanted, CredentialKind.KEY):
                found.update(await self._keys(session, ids))
            for ids in _ids(wanted, CredentialKind.SESSION):
                found.update(await self._user_sessions(session, ids))
            away = set(
                await session.scalars(
                    select(TenantRow.slug).where(TenantRow.move_phase.is_not(None))
                )
            )
        # Whose tenant is being moved has nothing here until the move is called off.
        found = {one: holder for one, holder in found.items() if holder.tenant not in away}
        # The id of a session is unique within its tenant only, and that of a key says no tenant.
        return {credential: found[credential] for credential in wanted if credential in found}

    async def _keys(
        self, session: AsyncSession, ids: Collection[str]
    ) -> dict[Credential, Principal]:
        now_us = self._clock.now_us()
        rows = await session.scalars(select(KeyRow).where(KeyRow.id.in_(ids)))
        working = (row for row in rows if keys.works(row.expires_us, row.revoked_us, now_us))
        return _by_credential(principal_of_key(row) for row in working)

    async def _user_sessions(
        self, session: AsyncSession, ids: Collection[str]
    ) -> dict[Credential, Principal]:
        rows = await session.execute(
            select(SessionRow.id, UserRow)
            # The platform's role may read no more of them than this and the conditions.
            .options(load_only(UserRow.role, UserRow.groups, raiseload=True))
            .join(UserRow, (SessionRow.tenant == UserRow.tenant) & (SessionRow.user == UserRow.id))
            .where(
                SessionRow.id.in_(ids),
                SessionRow.ended_us.is_(None),
                SessionRow.expires_us > self._clock.now_us(),
                UserRow.disabled.is_(False),
            )
        )
        return _by_credential(principal_of(user, id) for id, user in rows)


def _ids(wanted: Collection[Credential], kind: CredentialKind) -> Iterable[list[str]]:
    ids = sorted({one.id for one in wanted if one.kind is kind})
    return (ids[start : start + MAX_BATCH] for start in range(0, len(ids), MAX_BATCH))


def _by_credential(principals: Iterable[Principal]) -> dict[Credential, Principal]:
    return {principal.credential: principal for principal in principals}
