"""The users of one tenant."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Literal

from pydantic import SecretStr
from sqlalchemy import func, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.core.roles import Role
from cluster.stores.db.cursor import MADE_CURSOR
from cluster.stores.db.erased import is_leaving
from cluster.stores.db.groups import checked_groups, groups_of
from cluster.stores.db.key_records import working
from cluster.stores.db.keys import random_id
from cluster.stores.db.models import KeyRow, SessionRow, UserRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant, unknown_tenant
from cluster.stores.db.types import Groups, User, UserChanges
from pipelines.clock import Clock
from pipelines.errors import ConflictError, InputError, NotFoundError

MAX_EMAIL = 254
MAX_SUBJECT = 255
"""OpenID Connect Core 1.0, section 2: `sub` has at most 255 ASCII characters."""
NO_PASSWORD = SecretStr("")
"""In place of the hash, of users who sign in at an identity provider. `verify_password` takes it
for no account."""
# Of one tenant. Each is a row that lists and sign-ins pass.
MAX_USERS = 2_000
PAGE = 500
_ID_CHARS = 12


def normal_email(text: str) -> str:
    """The form in which addresses are kept and compared."""
    # Decomposed first, so that doing it again changes nothing (Unicode, definition D145).
    folded = unicodedata.normalize("NFD", text.strip()).casefold()
    return unicodedata.normalize("NFC", folded)


def check_email(text: str) -> str:
    """The normal form of an address. Raises InputError: it is none."""
    email = normal_email(text)
    local, _, domain = email.rpartition("@")
    if not local or not domain or len(email) > MAX_EMAIL or not email.isprintable() or " " in email:
        raise InputError("this is not an e-mail address.", hint="Give one like ana@example.com.")
    return email


class TenantUsers:
    """Made by `Database.users`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    async def add(
        self,
        email: str,
        name: str,
        role: Role,
        password: SecretStr,
        groups: Collection[str] | None = None,
    ) -> User:
        """A new user.

        Args:
            password: its hash.
            groups: whose cameras are all that the user sees; None: all cameras.

        Raises:
            InputError: `email` is no address, the role is not a tenant's, or cannot be limited.
            ConflictError: a user has this address, or there are as many users as there may be.
            NotFoundError: there is no such tenant or group.
        """
        if role is Role.PLATFORM:
            raise InputError("a user cannot have the role platform.")
        row = UserRow(
            tenant=self.tenant,
            id=random_id(_ID_CHARS),
            email=check_email(email),
            name=name,
            role=role.value,
            password=password,
            disabled=False,
            created_us=self._clock.now_us(),
        )
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            await self._check_room(session)
            row.groups = await checked_groups(session, self.tenant, role, groups)
            session.add(row)
            try:
                await session.flush()
            except IntegrityError:
                raise ConflictError(
                    "a user of this tenant has this e-mail address.",
                    hint="Change that user, or give another address.",
                ) from None
        return _user(row)

    async def page(self, limit: int, cursor: str | None = None) -> tuple[list[User], str | None]:
        """Users, oldest first, and the cursor of the next page; None: that was the last.

        Raises:
            InputError: the cursor is broken.
        """
        statement = select(UserRow).order_by(UserRow.created_us, UserRow.id).limit(limit + 1)
        if cursor is not None:
            place = tuple_(UserRow.created_us, UserRow.id)
            statement = statement.where(place > tuple_(*MADE_CURSOR.decode(cursor)))
        async with self._sessions.read() as session:
            found = [_user(row) for row in await session.scalars(statement)]
        return MADE_CURSOR.page(found, limit, lambda user: (user.created_us, user.id))

    async def users(self) -> list[User]:
        """All of them, read page by page, by e-mail address."""
        found, cursor = await self.page(PAGE)
        while cursor is not None:
            more, cursor = await self.page(PAGE, cursor)
            found += more
        return sorted(found, key=lambda user: user.email)

    async def user(self, user: str) -> User:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            return _user(await self._row(session, user))

    async def find(self, email: str) -> tuple[User, SecretStr] | None:
        """A user by e-mail address, in any form, and the hash of the password; None: nobody."""
        async with self._sessions.read() as session:
            row = await session.scalar(select(UserRow).where(UserRow.email == normal_email(email)))
        return None if row is None else (_user(row), row.password)

    async def change(self, user: str, changes: UserChanges) -> User:
        """The changed user. Another password, and `disabled`, end the user's sessions.

        Raises:
            InputError: the role is not a tenant's, or cannot be limited to camera groups.
            NotFoundError: there is no such user or group.
            ConflictError: it is the last admin; role or password of a user who has them from an
                identity provider.
        """
        if changes.role is Role.PLATFORM:
            raise InputError("a user cannot have the role platform.")
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            row = await self._row(session, user)
            if row.provider is not None and (changes.role or changes.password):
                raise ConflictError(
                    f"this user signs in at {row.provider}, which says their role and knows their "
                    "password.",
                    hint="Change it there, or disable the user here.",
                )
            if changes.disabled or changes.role not in (None, Role.ADMIN):
                await self._keep_an_admin(session, row)
            row.name = row.name if changes.name is None else changes.name
            row.role = row.role if changes.role is None else changes.role.value
            given = "groups" in changes.model_fields_set
            wanted = changes.groups if given else groups_of(row.groups)
            if given or changes.role is not None:
                row.groups = await checked_groups(session, self.tenant, Role(row.role), wanted)
            row.password = changes.password or row.password
            row.disabled = row.disabled if changes.disabled is None else changes.disabled
            if changes.password is not None or changes.disabled:
                await self._end_sessions(session, user)
            return _user(row)

    async def from_provider(
        self,
        provider: str,
        subject: str,
        email: str,
        name: str,
        role: Role,
        groups: Groups | Literal["kept"] = "kept",
        *,
        adopt: bool,
    ) -> User:
        """The user of an identity provider; made at their first sign-in, and brought up to date at
        each. Disabled users stay so.

        Args:
            provider, subject: which of its people it is.
            groups: camera groups that they are limited to; `kept`: those that they have here.
            adopt: whether a user who has this address and a password becomes the provider's. The
                password is forgotten then, and their sessions end.

        Raises:
            InputError: the role cannot be limited to camera groups.
            ConflictError: another user has this address, there are as many as there may be, or it
                is the last admin, and the provider gives another role.
            NotFoundError: there is no such tenant or group, or the tenant is being erased.
        """
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            if await is_leaving(session, self.tenant):
                raise unknown_tenant(self.tenant)
            row = await session.scalar(
                select(UserRow).where(UserRow.provider == provider, UserRow.subject == subject)
            )
            if row is None and adopt:
                row = await self._adopted(session, email)
            if row is None:
                await self._check_room(session)
                row = UserRow(
                    tenant=self.tenant,
                    id=random_id(_ID_CHARS),
                    disabled=False,
                    created_us=self._clock.now_us(),
                )
                session.add(row)
            elif role is not Role.ADMIN:
                await self._keep_an_admin(session, row)
            row.provider, row.subject, row.password = provider, subject, NO_PASSWORD
            row.email, row.name, row.role = email, name, role.value
            wanted = groups_of(row.groups) if groups == "kept" else groups
            # An admin has all cameras, whatever the user was limited to before.
            wanted = None if role is Role.ADMIN and groups == "kept" else wanted
            try:
                row.groups = await checked_groups(session, self.tenant, role, wanted)
                await session.flush()
            except IntegrityError:
                raise ConflictError(
                    "another user of this tenant has this e-mail address."
                ) from None
        return _user(row)

    async def _check_room(self, session: AsyncSession) -> None:
        """Raises ConflictError: there are as many users as there may be."""
        there = await session.scalar(select(func.count()).select_from(UserRow))
        if (there or 0) >= MAX_USERS:
            raise ConflictError(
                f"there are {MAX_USERS:,} users, and no more may be.",
                hint="Remove those who do not sign in any more.",
            )

    async def _adopted(self, session: AsyncSession, email: str) -> UserRow | None:
        row: UserRow | None = await session.scalar(
            select(UserRow).where(UserRow.email == email, UserRow.provider.is_(None))
        )
        if row is not None:
            await self._end_sessions(session, row.id)
        return row

    async def replace_password(
        self, user: str, old: SecretStr, new: SecretStr, session_id: str
    ) -> bool:
        """Put another password in the place of the one with the hash `old`, and end the user's
        sessions but this one. Whether it was still that password, of a user who may sign in."""
        async with self._sessions.write() as session:
            changed = await session.scalar(
                update(UserRow)
                .where(UserRow.id == user, UserRow.password == old, UserRow.disabled.is_(False))
                .values(password=new)
                .returning(UserRow.id)
            )
            if changed is None:
                return False
            await self._end_sessions(session, user, but=session_id)
        return True

    async def keep_hash(self, user: str, old: SecretStr, new: SecretStr) -> None:
        """Replace the hash `old` by another one of the same password. Changes nothing where the
        password was changed meanwhile."""
        async with self._sessions.write() as session:
            await session.execute(
                update(UserRow)
                .where(UserRow.id == user, UserRow.password == old)
                .values(password=new)
            )

    async def remove(self, user: str) -> None:
        """With all sessions.

        Raises:
            ConflictError: it is the last admin.
            NotFoundError: there is no such user.
        """
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            row = await self._row(session, user)
            await self._keep_an_admin(session, row)
            await session.delete(row)

    async def _keep_an_admin(self, session: AsyncSession, leaving: UserRow) -> None:
        """Refuse to take the last admin away, of users who may sign in and of keys that work: two
        who do it to each other at the same time would leave nobody. Raises ConflictError."""
        if leaving.role != Role.ADMIN or leaving.disabled:
            return
        admin = UserRow.role == Role.ADMIN.value
        others = select(UserRow.id).where(admin, UserRow.disabled.is_(False))
        if await session.scalar(others.where(UserRow.id != leaving.id).limit(1)) is not None:
            return
        now_us = self._clock.now_us()
        key = select(KeyRow.id).where(KeyRow.tenant == self.tenant, working(now_us))
        key = key.where(KeyRow.role == Role.ADMIN.value)
        if await session.scalar(key.limit(1)) is None:
            raise ConflictError(
                "this is the last admin of the tenant.", hint="Make another admin first."
            )

    async def _end_sessions(
        self, session: AsyncSession, user: str, *, but: str | None = None
    ) -> None:
        statement = update(SessionRow).where(SessionRow.user == user, SessionRow.ended_us.is_(None))
        if but is not None:
            statement = statement.where(SessionRow.id != but)
        await session.execute(statement.values(ended_us=self._clock.now_us()))

    async def _row(self, session: AsyncSession, user: str) -> UserRow:
        row = await session.get(UserRow, {"tenant": self.tenant, "id": user})
        if row is None:
            raise NotFoundError(f"there is no user {user}.")
        return row


def _user(row: UserRow) -> User:
    return User(
        id=row.id,
        email=row.email,
        name=row.name,
        role=Role(row.role),
        disabled=row.disabled,
        created_us=row.created_us,
        signed_in_us=row.signed_in_us,
        provider=row.provider,
        groups=groups_of(row.groups),
    )
