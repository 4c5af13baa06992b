"""Sessions of users. Each refresh token works once, and its use makes the next. All that follow
from one sign-in are a family, which a used one that comes back ends."""

from __future__ import annotations

import secrets
from enum import StrEnum

from pydantic import SecretStr
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.core.roles import Role
from cluster.stores.db.groups import groups_of
from cluster.stores.db.models import SessionRow, UserRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.types import Principal, user_actor
from pipelines.clock import Clock

# Of one user at once; the oldest ends when another begins.
MAX_SESSIONS = 50


class Renewal(StrEnum):
    """What became of a refresh token."""

    DONE = "done"
    REUSED = "reused"
    """It had been used before: the session has ended now."""
    GONE = "gone"
    """The session has ended, or there is none."""


def new_session_id() -> str:
    """128 random bits."""
    return secrets.token_urlsafe(16)


def principal_of(user: UserRow, session_id: str) -> Principal:
    """Who makes a request in this session."""
    groups = groups_of(user.groups)
    return Principal(user.tenant, Role(user.role), user_actor(user.id), session_id, groups)


class UserSessions:
    """Of one tenant. Made by `Database.sessions`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    async def begin(
        self, user: str, password: SecretStr, session_id: str, digest: str, expires_us: int
    ) -> bool:
        """A new session, whose first refresh token has this digest. Forgets the user's old ones.

        Args:
            password: the hash that was checked. A check takes long, and meanwhile the password may
                be changed, or the user be disabled or removed: no session may come of it then.

        Returns:
            Whether it began.
        """
        now_us = self._clock.now_us()
        async with self._sessions.write() as session:
            row = await session.scalar(
                select(UserRow)
                .where(
                    UserRow.id == user, UserRow.password == password, UserRow.disabled.is_(False)
                )
                .with_for_update()
            )
            if row is None:
                return False
            row.signed_in_us = now_us
            await self._forget_old(session, user, now_us)
            session.add(
                SessionRow(
                    tenant=self.tenant,
                    id=session_id,
                    user=user,
                    digest=digest,
                    generation=0,
                    created_us=now_us,
                    expires_us=expires_us,
                )
            )
        return True

    async def renew(self, session_id: str, generation: int, old: str, new: str) -> Renewal:
        """Put the next refresh token in the place of the one with the digest `old`, whose number
        `generation` is."""
        now_us = self._clock.now_us()
        async with self._sessions.write() as session:
            renewed = await session.scalar(
                update(SessionRow)
                .where(
                    SessionRow.id == session_id,
                    SessionRow.digest == old,
                    SessionRow.generation == generation,
                    SessionRow.ended_us.is_(None),
                    SessionRow.expires_us > now_us,
                )
                .values(digest=new, generation=generation + 1)
                .returning(SessionRow.id)
            )
            if renewed is not None:
                return Renewal.DONE
            ended = await session.scalar(
                update(SessionRow)
                .where(
                    SessionRow.id == session_id,
                    SessionRow.generation > generation,
                    SessionRow.ended_us.is_(None),
                    SessionRow.expires_us > now_us,
                )
                .values(ended_us=now_us)
                .returning(SessionRow.id)
            )
        return Renewal.GONE if ended is None else Renewal.REUSED

    async def end(self, session_id: str) -> bool:
        """Whether there was one to end."""
        async with self._sessions.write() as session:
            ended = await session.scalar(
                update(SessionRow)
                .where(SessionRow.id == session_id, SessionRow.ended_us.is_(None))
                .values(ended_us=self._clock.now_us())
                .returning(SessionRow.id)
            )
        return ended is not None

    async def principal(self, session_id: str) -> Principal | None:
        """Whose session it is; None: it has ended, or the user is disabled or gone."""
        statement = (
            select(UserRow)
            .join(
                SessionRow,
                (SessionRow.tenant == UserRow.tenant) & (SessionRow.user == UserRow.id),
            )
            .where(
                SessionRow.id == session_id,
                SessionRow.ended_us.is_(None),
                SessionRow.expires_us > self._clock.now_us(),
                UserRow.disabled.is_(False),
            )
        )
        async with self._sessions.read() as session:
            row = await session.scalar(statement)
        return None if row is None else principal_of(row, session_id)

    async def _forget_old(self, session: AsyncSession, user: str, now_us: int) -> None:
        await session.execute(
            delete(SessionRow).where(SessionRow.user == user, SessionRow.expires_us <= now_us)
        )
        kept = (
            select(SessionRow.id)
            .where(SessionRow.user == user)
            .order_by(SessionRow.created_us.desc(), SessionRow.id)
            .offset(MAX_SESSIONS - 1)
        )
        over = list(await session.scalars(kept))
        await session.execute(delete(SessionRow).where(SessionRow.id.in_(over)))
