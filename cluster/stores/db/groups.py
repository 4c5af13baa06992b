"""Groups of cameras, and which cameras those see who are limited to some of them.

Users and keys name groups by id. The ids in their rows are no references that a database would
follow: a group that is gone has no cameras, so who names it sees less, never more.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.core.roles import Role
from cluster.stores.db import keys
from cluster.stores.db.models import CameraRow, GroupCameraRow, GroupRow, KeyRow, UserRow
from cluster.stores.db.scope import cameras_of
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant import require_camera_known
from cluster.stores.db.tenant_row import lock_tenant
from cluster.stores.db.types import CameraGroup, Groups
from pipelines.clock import Clock
from pipelines.domain import SLUG_PATTERN
from pipelines.errors import ConflictError, InputError, NotFoundError

MAX_GROUPS = 200
MAX_CAMERAS = 2_000
"""Of one group."""
MAX_MEMBERS = 20_000
"""Of all groups of a tenant together: what one answer lists, some 500 KB, and what one search can
be limited to. SQLite takes 32,766 values in a statement."""
MAX_NAME = 120
MAX_GROUPS_EACH = 20
"""Of one user or key."""

_SLUG = re.compile(SLUG_PATTERN)
# 3 columns a row: below the 32,766 parameters that SQLite takes in one statement.
_CHUNK = 500


class TenantGroups:
    """Made by `Database.groups`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    async def groups(self) -> list[CameraGroup]:
        """All of them, by name."""
        async with self._sessions.read() as session:
            rows = list(await session.scalars(select(GroupRow).order_by(GroupRow.name)))
            return await self._described(session, rows)

    async def group(self, group: str) -> CameraGroup:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            [found] = await self._described(session, [await _row(session, group)])
            return found

    async def add(self, group: str, name: str, cameras: Collection[str]) -> CameraGroup:
        """A new group.

        Raises:
            ConflictError: its id or name is taken, or there are `MAX_GROUPS`.
            InputError: `group` is no slug, the name is none, or there are too many cameras.
            NotFoundError: there is no such camera, and nothing is kept of one; no such tenant.
        """
        if _SLUG.fullmatch(group) is None:
            raise InputError(
                f"{group!r} is not a group's id.",
                hint="Use a-z, 0-9 and -, at most 40 characters, not - first.",
            )
        _check_name(name)
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            count = await session.scalar(select(func.count()).select_from(GroupRow)) or 0
            if count >= MAX_GROUPS:
                raise ConflictError(
                    f"there are {count} groups already.", hint="Remove one that is not needed."
                )
            if await session.scalar(select(GroupRow.id).where(GroupRow.id == group)):
                raise ConflictError(f"group {group} exists.", hint="Choose another id.")
            now_us = self._clock.now_us()
            row = GroupRow(tenant=self.tenant, id=group, name=name, created_us=now_us)
            session.add(row)
            await _flush_name(session, name)
            await self._replace(session, group, frozenset(cameras))
            [made] = await self._described(session, [row])
        return made

    async def change(
        self, group: str, *, name: str | None = None, cameras: Collection[str] | None = None
    ) -> CameraGroup:
        """The changed group; None: leave it.

        Args:
            cameras: all that it shall have. Those that it has may stay, whatever became of them.

        Raises:
            NotFoundError: there is no such group or camera.
            ConflictError: the name is taken.
            InputError: the name is none, or there are too many cameras.
        """
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            row = await _row(session, group)
            if name is not None:
                _check_name(name)
                row.name = name
                await _flush_name(session, name)
            if cameras is not None:
                await self._replace(session, group, frozenset(cameras))
            [changed] = await self._described(session, [row])
        return changed

    async def remove(self, group: str) -> None:
        """Remove a group that nobody is limited to.

        Raises:
            NotFoundError: there is no such group.
            ConflictError: users or keys are limited to it.
        """
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            row = await _row(session, group)
            users, issued = await self._in_use(session)
            if users[group] or issued[group]:
                raise ConflictError(
                    f"{users[group]} users and {issued[group]} keys are limited to the group "
                    f"{group}.",
                    hint="Give the users other groups and revoke the keys first.",
                )
            await session.delete(row)

    async def _replace(self, session: AsyncSession, group: str, cameras: frozenset[str]) -> None:
        """Make `cameras` the group's. Raises NotFoundError, InputError."""
        if len(cameras) > MAX_CAMERAS:
            raise InputError(f"a group has at most {MAX_CAMERAS:,} cameras.")
        in_group = select(GroupCameraRow.camera).where(GroupCameraRow.group_id == group)
        before = frozenset(await session.scalars(in_group))
        await _check_known(session, cameras - before)
        members = await session.scalar(select(func.count()).select_from(GroupCameraRow)) or 0
        if members - len(before) + len(cameras) > MAX_MEMBERS:
            raise InputError(
                f"all groups together have at most {MAX_MEMBERS:,} cameras, counted in each.",
                hint="Leave users and keys that may see all cameras without groups.",
            )
        for gone in _chunks(before - cameras):
            await session.execute(
                delete(GroupCameraRow).where(
                    GroupCameraRow.group_id == group, GroupCameraRow.camera.in_(gone)
                )
            )
        session.add_all(
            GroupCameraRow(tenant=self.tenant, group_id=group, camera=camera)
            for camera in cameras - before
        )
        await session.flush()

    async def _described(
        self, session: AsyncSession, rows: Sequence[GroupRow]
    ) -> list[CameraGroup]:
        """The groups as they are shown."""
        members: dict[str, list[str]] = defaultdict(list)
        named = select(GroupCameraRow.group_id, GroupCameraRow.camera).order_by(
            GroupCameraRow.group_id, GroupCameraRow.camera
        )
        if len(rows) == 1:
            named = named.where(GroupCameraRow.group_id == rows[0].id)
        for group, camera in await session.execute(named):
            members[group].append(camera)
        users, issued = await self._in_use(session)
        return [
            CameraGroup(
                id=row.id,
                name=row.name,
                cameras=tuple(members[row.id]),
                created_us=row.created_us,
                users=users[row.id],
                keys=issued[row.id],
            )
            for row in rows
        ]

    async def _in_use(self, session: AsyncSession) -> tuple[Counter[str], Counter[str]]:
        """How many users, and how many keys that work, are limited to each group."""
        of_users = select(UserRow.groups).where(UserRow.groups.is_not(None))
        users = Counter(g for groups in await session.scalars(of_users) for g in groups or ())
        now_us = self._clock.now_us()
        of_keys = select(KeyRow.groups, KeyRow.expires_us, KeyRow.revoked_us).where(
            KeyRow.tenant == self.tenant, KeyRow.groups.is_not(None)
        )
        issued = Counter(
            group
            for groups, expires_us, revoked_us in await session.execute(of_keys)
            if keys.works(expires_us, revoked_us, now_us)
            for group in groups or ()
        )
        return users, issued


class VisibleCameras:
    """Which cameras who is limited to some groups may see; who is not sees all. It keeps nothing,
    so that a change counts at once. Every method may raise UnavailableError.

    Args:
        groups: ids; None: not limited.
    """

    def __init__(self, sessions: Sessions, tenant: str, groups: Groups) -> None:
        self._sessions = sessions
        self.tenant = tenant
        self.groups = groups

    async def all(self) -> frozenset[str] | None:
        """None: every camera."""
        if self.groups is None:
            return None
        async with self._sessions.read() as session:
            return frozenset(await session.scalars(cameras_of(self.tenant, self.groups)))

    async def among(self, cameras: Iterable[str]) -> frozenset[str]:
        """Those of `cameras`, at most some hundred, that may be seen."""
        wanted = frozenset(cameras)
        if self.groups is None or not wanted:
            return wanted
        camera = GroupCameraRow.__table__.c.camera
        statement = cameras_of(self.tenant, self.groups).where(camera.in_(wanted))
        async with self._sessions.read() as session:
            return frozenset(await session.scalars(statement))


async def checked_groups(
    session: AsyncSession, tenant: str | None, role: Role, groups: Collection[str] | None
) -> list[str] | None:
    """What is kept of the groups that a user or key shall be limited to; None: all cameras.

    Raises:
        InputError: none or too many are named, or the role has all cameras.
        NotFoundError: there is no such group or tenant.
    """
    if groups is None:
        return None
    if role in (Role.ADMIN, Role.PLATFORM) or tenant is None:
        raise InputError(
            f"the role {role} cannot be limited to camera groups.",
            hint="Give another role, or no groups.",
        )
    wanted = sorted(set(groups))
    if not 1 <= len(wanted) <= MAX_GROUPS_EACH:
        raise InputError(
            f"name 1 to {MAX_GROUPS_EACH} groups.", hint="Without groups, all cameras are seen."
        )
    # So that none of them is removed meanwhile.
    await lock_tenant(session, tenant)
    found = select(GroupRow.id).where(GroupRow.tenant == tenant, GroupRow.id.in_(wanted))
    known = set(await session.scalars(found))
    for group in wanted:
        if group not in known:
            raise _unknown(group)
    return wanted


def groups_of(stored: list[str] | None) -> Groups:
    """The groups in a row of a user or key."""
    return None if stored is None else tuple(stored)


async def _row(session: AsyncSession, group: str) -> GroupRow:
    row = await session.scalar(select(GroupRow).where(GroupRow.id == group))
    if row is None:
        raise _unknown(group)
    return row


def _unknown(group: str) -> NotFoundError:
    return NotFoundError(f"there is no group {group}.", hint="See GET /v1/groups.")


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InputError(f"a group's name has 1 to {MAX_NAME} printable characters.")


async def _flush_name(session: AsyncSession, name: str) -> None:
    try:
        await session.flush()
    except IntegrityError:
        raise ConflictError(
            f"a group has the name {name!r}.", hint="Choose another name."
        ) from None


async def _check_known(session: AsyncSession, cameras: frozenset[str]) -> None:
    """Raises NotFoundError: there is no such camera, and nothing is kept of one."""
    known: set[str] = set()
    for chunk in _chunks(cameras):
        known |= set(await session.scalars(select(CameraRow.id).where(CameraRow.id.in_(chunk))))
    for camera in sorted(cameras - known):
        await require_camera_known(session, camera)


def _chunks(names: Collection[str]) -> Iterable[list[str]]:
    ordered = sorted(names)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))
