"""What the platform itself may see: tenants, keys, and the plan of every camera."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from pydantic import ValidationError
from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from cluster.core.log import get_logger
from cluster.core.roles import Role
from cluster.core.tenancy import require_tenant
from cluster.stores.db import keys
from cluster.stores.db.convert import camera_of, insert_into, rule_of
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.db.erased import is_leaving
from cluster.stores.db.fence import require_open
from cluster.stores.db.key_records import KeyRecords, principal_of_key, role_of_key
from cluster.stores.db.models import CameraRow, KeyRow, QuotaRow, RuleRow, TenantRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant, unknown_tenant
from cluster.stores.db.types import IssuedKey, Principal, Tenant, Whereabouts
from pipelines.clock import Clock
from pipelines.domain import CameraPlan, Rule
from pipelines.errors import ConflictError, InputError
from pipelines.moving import MovePhase

log = get_logger("records")


class PlatformRecords(KeyRecords):
    """Made by `Database.platform`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, clock: Clock, cipher: RecordCipher) -> None:
        super().__init__(sessions, clock, None)
        self._cipher = cipher

    # ------------------------------------------------------------ tenants

    async def ensure_tenant(self, slug: str, name: str) -> Tenant:
        """Make the tenant, or give an existing one this name.

        Raises:
            InputError: `slug` is none.
            ConflictError: a tenant of that name was erased, whose audit log is kept.
        """
        require_tenant(slug)
        tenant = Tenant(slug=slug, name=name, created_us=self._clock.now_us())
        async with self._sessions.write() as session:
            await _check_not_erased(session, slug)
            statement = (
                insert_into(session, TenantRow)
                .values(slug=tenant.slug, name=name, created_us=tenant.created_us, revision=0)
                .on_conflict_do_update(index_elements=[TenantRow.slug], set_={"name": name})
                .returning(TenantRow.created_us)
            )
            created_us = (await session.execute(statement)).scalar_one()
        return tenant.model_copy(update={"created_us": created_us})

    async def tenants(self) -> list[Tenant]:
        """All tenants, by slug."""
        async with self._sessions.read() as session:
            rows = await session.scalars(select(TenantRow).order_by(TenantRow.slug))
            return [Tenant(slug=r.slug, name=r.name, created_us=r.created_us) for r in rows]

    async def whereabouts(self, tenant: str) -> Whereabouts | None:
        """Whether a tenant lives here; None: there is no tenant of this name."""
        columns = TenantRow.move_phase, TenantRow.move_pod
        async with self._sessions.read() as session:
            statement = select(*columns).where(TenantRow.slug == tenant)
            found = (await session.execute(statement)).first()
        if found is None:
            return None
        phase, pod = found
        return Whereabouts(phase=MovePhase(phase) if phase else None, pod=pod)

    async def at_home(self, *, draining: bool = False) -> list[str]:
        """The tenants that live here, by slug, without those that are being moved.

        Args:
            draining: with those of which what is on its way still arrives.
        """
        home = TenantRow.move_phase.is_(None)
        leaving = TenantRow.move_phase == MovePhase.DRAINING.value
        here = or_(home, leaving) if draining else home
        async with self._sessions.read() as session:
            found = select(TenantRow.slug).where(here).order_by(TenantRow.slug)
            return list(await session.scalars(found))

    # ------------------------------------------------------------ quotas

    async def quotas(self, tenant: str) -> dict[str, int]:
        """The limits that a tenant has in place of those of all, by name. Raises NotFoundError."""
        async with self._sessions.read() as session:
            await _require_tenant_row(session, tenant)
            rows = await session.scalars(select(QuotaRow).where(QuotaRow.tenant == tenant))
            return {row.name: row.amount for row in rows}

    async def own_quotas(self, name: str) -> dict[str, int]:
        """One limit of the tenants that have another than all, by tenant."""
        async with self._sessions.read() as session:
            rows = await session.scalars(select(QuotaRow).where(QuotaRow.name == name))
            return {row.tenant: row.amount for row in rows}

    async def set_quotas(self, tenant: str, quotas: Mapping[str, int]) -> None:
        """Replace them; what is not named is that of all. Raises NotFoundError."""
        async with self._sessions.write() as session:
            # Two at once would both remove what was there, and then collide.
            await lock_tenant(session, tenant)
            await require_open(session, tenant)
            await session.execute(delete(QuotaRow).where(QuotaRow.tenant == tenant))
            session.add_all(
                QuotaRow(tenant=tenant, name=name, amount=amount) for name, amount in quotas.items()
            )

    # ------------------------------------------------------------ keys

    async def create_key(
        self,
        tenant: str | None,
        label: str,
        role: Role | None = None,
        expires_us: int | None = None,
        groups: Collection[str] | None = None,
    ) -> IssuedKey:
        """A fresh key for a tenant, or for the platform (None). Its secret is shown only here.

        Args:
            role: default: admin, or platform where there is no tenant.
            expires_us: UTC microseconds; None: never.
            groups: whose cameras are all that it sees; None: all cameras.

        Raises:
            InputError: it would have expired already, the role is another's, or cannot be limited.
            NotFoundError: no such tenant or group.
        """
        return await self._create(tenant, label, role_of_key(tenant, role), expires_us, groups)

    async def import_key(self, tenant: str | None, secret: str, label: str) -> str:
        """Accept a key that the caller made with `new_key`, as the tenant's admin or as the
        platform. Importing it again changes nothing.

        Returns:
            The key's id.

        Raises:
            InputError: `secret` has not the form of a key.
            ConflictError: its id is taken by another key, by another tenant, or was revoked.
            NotFoundError: no such tenant.
        """
        key_id = keys.key_id(secret)
        if key_id is None:
            raise InputError(
                "this is not a key.", hint="A key is atk_, 8 characters, _ and 43 characters."
            )
        async with self._sessions.write() as session:
            row = await session.get(KeyRow, key_id)
            if row is None:
                await self._add(session, secret, tenant, label, role_of_key(tenant, None), None)
            elif (
                not keys.proves(secret, row.digest)
                or row.tenant != tenant
                or row.revoked_us is not None
            ):
                raise ConflictError(
                    f"key {key_id} exists for something else, or was revoked.",
                    hint="Make a new key.",
                )
        return key_id

    async def find_key(self, secret: str) -> Principal | None:
        """Who holds this key; None where it is no key, unknown, expired or revoked."""
        return (await self.find_keys([secret])).get(secret)

    async def find_keys(self, secrets: Collection[str]) -> dict[str, Principal]:
        """The same for many with one query: those that are good, by key."""
        found: dict[str, Principal] = {}
        ids = {key_id for secret in secrets if (key_id := keys.key_id(secret)) is not None}
        if not ids:
            return found
        async with self._sessions.read() as session:
            rows = await session.scalars(select(KeyRow).where(KeyRow.id.in_(ids)))
            by_id = {row.id: row for row in rows}
        now_us = self._clock.now_us()
        for secret in secrets:
            row = by_id.get(keys.key_id(secret) or "")
            if (
                row is not None
                and keys.proves(secret, row.digest)
                and keys.works(row.expires_us, row.revoked_us, now_us)
            ):
                found[secret] = principal_of_key(row)
        return found

    async def note_uses(self, uses: Mapping[str, int]) -> None:
        """Keep when keys were used last: UTC microseconds by id."""
        async with self._sessions.write() as session:
            for key_id, at_us in sorted(uses.items()):
                await session.execute(
                    update(KeyRow)
                    .where(
                        KeyRow.id == key_id,
                        or_(KeyRow.last_used_us.is_(None), KeyRow.last_used_us < at_us),
                    )
                    .values(last_used_us=at_us)
                )

    # ------------------------------------------------------------ plans

    async def plans(self) -> list[CameraPlan]:
        """What every camera of every tenant shall do, disabled ones too, by tenant and id; none of
        a tenant that is being moved. Those with secrets that do not decrypt say so
        (`Camera.unreadable`)."""
        async with self._sessions.read() as session:
            rows = await session.scalars(
                select(CameraRow)
                .join(TenantRow, TenantRow.slug == CameraRow.tenant)
                .where(TenantRow.move_phase.is_(None))
                .options(selectinload(CameraRow.rules))
                .order_by(CameraRow.tenant, CameraRow.id)
            )
            return [
                CameraPlan(
                    camera=camera_of(row, self._cipher),
                    rules=tuple(_readable(row.rules)),
                    revision=row.revision,
                )
                for row in rows
            ]


def _readable(rows: Iterable[RuleRow]) -> Iterator[Rule]:
    """Rules, without those that somebody else wrote and that are not valid: cameras of all tenants
    would stand still for one of them."""
    for row in rows:
        try:
            yield rule_of(row)
        except ValidationError:
            log.error("a rule is not valid", tenant=row.tenant, camera=row.camera, rule=row.id)


async def _check_not_erased(session: AsyncSession, tenant: str) -> None:
    if await is_leaving(session, tenant):
        raise ConflictError(
            f"tenant {tenant} was erased, or is being erased.",
            hint="Choose another name: its audit log and receipt are kept under this one.",
        )


async def _require_tenant_row(session: AsyncSession, tenant: str) -> None:
    if await session.get(TenantRow, tenant) is None:
        raise unknown_tenant(tenant)
