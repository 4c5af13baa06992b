"""The keys in the records: issue, rotate, revoke."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, delete, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.core.roles import Role
from cluster.stores.db import keys
from cluster.stores.db.cursor import MADE_CURSOR
from cluster.stores.db.fence import require_open
from cluster.stores.db.groups import checked_groups, groups_of
from cluster.stores.db.models import KeyRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant
from cluster.stores.db.types import IssuedKey, KeyInfo, Principal
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError, ConflictError, InputError, NotFoundError

# Keys of one tenant, or of the platform, that work.
MAX_WORKING = 1_000
# Those that have ended are kept for a year, so that one can look up what they were, and as many.
FORGOTTEN_AFTER_US = 365 * 86_400_000_000
MAX_ENDED = 1_000
PAGE = 500


class KeyRecords:
    """Keys of one tenant, or all of them. Every method may raise UnavailableError.

    Args:
        only: the tenant whose keys there are; None: those of everybody.
    """

    def __init__(self, sessions: Sessions, clock: Clock, only: str | None) -> None:
        self._sessions = sessions
        self._clock = clock
        self._only = only

    async def page(self, limit: int, cursor: str | None = None) -> tuple[list[KeyInfo], str | None]:
        """Keys, oldest first, revoked ones too, and the cursor of the next page; None: that was
        the last.

        Raises:
            InputError: the cursor is broken.
        """
        place = tuple_(KeyRow.created_us, KeyRow.id)
        statement = select(KeyRow).order_by(KeyRow.created_us, KeyRow.id).limit(limit + 1)
        if self._only is not None:
            statement = statement.where(KeyRow.tenant == self._only)
        if cursor is not None:
            statement = statement.where(place > tuple_(*MADE_CURSOR.decode(cursor)))
        async with self._sessions.read() as session:
            found = [_info(row) for row in await session.scalars(statement)]
        return MADE_CURSOR.page(found, limit, lambda key: (key.created_us, key.id))

    async def keys(self) -> list[KeyInfo]:
        """All of them, read page by page."""
        found, cursor = await self.page(PAGE)
        while cursor is not None:
            more, cursor = await self.page(PAGE, cursor)
            found += more
        return found

    async def revoke_key(self, key: str) -> str | None:
        """End a key by its id. Again changes nothing.

        Returns:
            The tenant that it belonged to; None: the platform.

        Raises:
            NotFoundError: there is no such key.
        """
        async with self._sessions.write() as session:
            row = await self._row(session, key)
            if row.revoked_us is None:
                row.revoked_us = self._clock.now_us()
            return row.tenant

    async def rotate_key(self, key: str, overlap_us: int) -> IssuedKey:
        """A new key in the place of an old one, which works for `overlap_us` longer.

        Returns:
            The new key, which has the old one's label, role, groups and expiry.

        Raises:
            NotFoundError: there is no such key.
            ConflictError: it was revoked, has expired, or was replaced before: what it has now is
                the expiry of its overlap, which no other key is to have.
        """
        secret = keys.new_key()
        now_us = self._clock.now_us()
        async with self._sessions.write() as session:
            row = await self._row(session, key)
            if not keys.works(row.expires_us, row.revoked_us, now_us):
                raise ConflictError(
                    f"key {key} was revoked or has expired.", hint="Issue a new key instead."
                )
            if row.replaced_by is not None:
                raise ConflictError(
                    f"key {key} was replaced by {row.replaced_by}.",
                    hint="Rotate that one; with an overlap of 0 s, if its secret was lost.",
                )
            old = _info(row)
            ends_us = now_us + overlap_us
            row.expires_us = min(ends_us, row.expires_us or ends_us)
            made = await self._add(
                session, secret, old.tenant, old.label, old.role, old.expires_us, row.groups
            )
            row.replaced_by = made.id
        return IssuedKey(made, secret)

    async def _row(self, session: AsyncSession, key: str) -> KeyRow:
        # Locked, so that two who rotate it at once do not both replace it.
        row = await session.get(KeyRow, key, with_for_update=True)
        if row is None or (self._only is not None and row.tenant != self._only):
            raise NotFoundError(f"there is no key {key}.")
        if row.tenant is not None:
            await require_open(session, row.tenant)  # the platform's sessions are of no tenant
        return row

    async def _create(
        self,
        tenant: str | None,
        label: str,
        role: Role,
        expires_us: int | None,
        groups: Collection[str] | None,
    ) -> IssuedKey:
        if expires_us is not None and expires_us <= self._clock.now_us():
            raise InputError("a key cannot expire in the past.", hint="Give a later time.")
        secret = keys.new_key()
        async with self._sessions.write() as session:
            limited = await checked_groups(session, tenant, role, groups)
            made = await self._add(session, secret, tenant, label, role, expires_us, limited)
        return IssuedKey(made, secret)

    async def _add(
        self,
        session: AsyncSession,
        secret: str,
        tenant: str | None,
        label: str,
        role: Role,
        expires_us: int | None,
        groups: list[str] | None = None,
    ) -> KeyInfo:
        key_id = keys.key_id(secret)
        if key_id is None:
            raise AssertionError("new_key makes keys")
        if tenant is not None:
            await require_open(session, tenant)
        await self._make_room(session, tenant)
        row = KeyRow(
            id=key_id,
            tenant=tenant,
            label=label,
            role=role.value,
            digest=keys.digest(secret),
            groups=groups,
            created_us=self._clock.now_us(),
            expires_us=expires_us,
        )
        session.add(row)
        try:
            await session.flush()
        except IntegrityError:
            raise ConflictError(f"key {key_id} exists.", hint="Make a new key.") from None
        return _info(row)

    async def _make_room(self, session: AsyncSession, tenant: str | None) -> None:
        """Forget the oldest of the keys that have ended.

        Raises:
            NotFoundError: no such tenant.
            ConflictError: as many keys work as may.
        """
        now_us = self._clock.now_us()
        if tenant is not None:
            # So that two at once do not both take the last place.
            await lock_tenant(session, tenant)
        theirs = KeyRow.tenant.is_(None) if tenant is None else KeyRow.tenant == tenant
        count = select(func.count()).select_from(KeyRow).where(theirs, working(now_us))
        if (await session.scalar(count) or 0) >= MAX_WORKING:
            raise ConflictError(
                f"{MAX_WORKING:,} keys work, and no more may.",
                hint="Revoke those that nothing uses; GET /v1/keys says when each was last used.",
            )
        ended = func.coalesce(KeyRow.revoked_us, KeyRow.expires_us)
        newest = (
            select(KeyRow.id)
            .where(theirs, ~working(now_us), ended > now_us - FORGOTTEN_AFTER_US)
            .order_by(ended.desc(), KeyRow.id)
            .limit(MAX_ENDED)
        )
        await session.execute(
            delete(KeyRow)
            .where(theirs, ~working(now_us), KeyRow.id.not_in(newest))
            .execution_options(synchronize_session=False)
        )


def working(now_us: int) -> ColumnElement[bool]:
    """The same as `keys.works`, in SQL."""
    return KeyRow.revoked_us.is_(None) & (
        KeyRow.expires_us.is_(None) | (KeyRow.expires_us > now_us)
    )


class TenantKeys(KeyRecords):
    """The keys of one tenant. Made by `Database.keys`."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        super().__init__(sessions, clock, tenant)
        self.tenant = tenant

    async def issue(
        self,
        label: str,
        role: Role,
        expires_us: int | None = None,
        groups: Collection[str] | None = None,
    ) -> IssuedKey:
        """A fresh key. Its secret is shown only here.

        Args:
            groups: whose cameras are all that it sees; None: all cameras.

        Raises:
            InputError: it would have expired already, the role is not a tenant's, or cannot be
                limited.
            ConflictError: as many keys work as may.
            NotFoundError: there is no such group.
        """
        if role is Role.PLATFORM:
            raise _not_a_tenants_role()
        return await self._create(self.tenant, label, role, expires_us, groups)


def _not_a_tenants_role() -> AtalaiaError:
    return InputError(
        "only keys of the platform have the role platform.",
        hint="Give admin, operator, analyst or viewer.",
    )


def role_of_key(tenant: str | None, role: Role | None) -> Role:
    """The role of a new key: admin, and of the platform's keys platform, where none is given.

    Raises:
        InputError: a tenant's key cannot have the role platform, and the platform's has no other.
    """
    if tenant is None:
        if role not in (None, Role.PLATFORM):
            raise InputError(
                "a key of the platform has the role platform.", hint="Leave the role out."
            )
        return Role.PLATFORM
    if role is Role.PLATFORM:
        raise _not_a_tenants_role()
    return role or Role.ADMIN


def principal_of_key(row: KeyRow) -> Principal:
    """Who makes a request with this key."""
    return Principal(row.tenant, Role(row.role), f"key:{row.id}", groups=groups_of(row.groups))


def _info(row: KeyRow) -> KeyInfo:
    return KeyInfo(
        id=row.id,
        tenant=row.tenant,
        label=row.label,
        role=Role(row.role),
        created_us=row.created_us,
        expires_us=row.expires_us,
        last_used_us=row.last_used_us,
        revoked_us=row.revoked_us,
        groups=groups_of(row.groups),
        replaced_by=row.replaced_by,
    )
