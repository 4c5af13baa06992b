"""What the platform itself may see: tenants, keys, and the plan of every camera."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from cluster.core.tenancy import require_tenant
from cluster.stores.db import keys
from cluster.stores.db.convert import camera_of, insert_into, rule_of
from cluster.stores.db.models import CameraRow, KeyRow, QuotaRow, TenantRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.types import IssuedKey, KeyInfo, Principal, Tenant
from pipelines.clock import Clock
from pipelines.domain import CameraPlan
from pipelines.errors import ConflictError, InputError, NotFoundError


class PlatformRecords:
    """Made by `Database.platform`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    # ------------------------------------------------------------ tenants

    async def ensure_tenant(self, slug: str, name: str) -> Tenant:
        """Make the tenant, or give an existing one this name.

        Raises:
            InputError: `slug` is none.
        """
        require_tenant(slug)
        tenant = Tenant(slug=slug, name=name, created_us=self._clock.now_us())
        async with self._sessions.write() as session:
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

    # ------------------------------------------------------------ quotas

    async def quotas(self, tenant: str) -> dict[str, int]:
        """The limits that a tenant has in place of those of all, by name. Raises NotFoundError."""
        async with self._sessions.read() as session:
            await _require_tenant_row(session, tenant)
            rows = await session.scalars(select(QuotaRow).where(QuotaRow.tenant == tenant))
            return {row.name: row.amount for row in rows}

    async def set_quotas(self, tenant: str, quotas: Mapping[str, int]) -> None:
        """Replace them; what is not named is that of all. Raises NotFoundError."""
        async with self._sessions.write() as session:
            await _require_tenant_row(session, tenant)
            await session.execute(delete(QuotaRow).where(QuotaRow.tenant == tenant))
            session.add_all(
                QuotaRow(tenant=tenant, name=name, amount=amount) for name, amount in quotas.items()
            )

    # ------------------------------------------------------------ keys

    async def create_key(self, tenant: str | None, label: str) -> IssuedKey:
        """A fresh key for a tenant, or for the platform (None). Its secret is shown only here.

        Raises:
            NotFoundError: no such tenant.
        """
        secret = keys.new_key()
        async with self._sessions.write() as session:
            key_id = await self._add_key(session, tenant, secret, label)
        return IssuedKey(id=key_id, secret=secret)

    async def import_key(self, tenant: str | None, secret: str, label: str) -> str:
        """Accept a key that the caller made with `new_key`. Importing it again changes nothing.

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
                await self._add_key(session, tenant, secret, label)
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
        """Who holds this key; None where it is no key, unknown, or revoked."""
        key_id = keys.key_id(secret)
        if key_id is None:
            return None
        async with self._sessions.read() as session:
            row = await session.get(KeyRow, key_id)
        if row is None or not keys.proves(secret, row.digest) or row.revoked_us is not None:
            return None
        return Principal(tenant=row.tenant, key_id=row.id)

    async def revoke_key(self, key: str) -> str | None:
        """End a key by its id. Again changes nothing.

        Returns:
            The tenant that it belonged to; None: the platform.

        Raises:
            NotFoundError: there is no such key.
        """
        async with self._sessions.write() as session:
            row = await session.get(KeyRow, key)
            if row is None:
                raise NotFoundError(f"there is no key {key}.")
            if row.revoked_us is None:
                row.revoked_us = self._clock.now_us()
            return row.tenant

    async def keys(self) -> list[KeyInfo]:
        """Every key, oldest first, revoked ones too."""
        async with self._sessions.read() as session:
            rows = await session.scalars(select(KeyRow).order_by(KeyRow.created_us, KeyRow.id))
            return [
                KeyInfo(
                    id=row.id,
                    tenant=row.tenant,
                    label=row.label,
                    created_us=row.created_us,
                    revoked_us=row.revoked_us,
                )
                for row in rows
            ]

    async def _add_key(
        self, session: AsyncSession, tenant: str | None, secret: str, label: str
    ) -> str:
        key_id = keys.key_id(secret)
        if key_id is None:
            raise AssertionError("new_key makes keys")
        if tenant is not None:
            await _require_tenant_row(session, tenant)
        session.add(
            KeyRow(
                id=key_id,
                tenant=tenant,
                label=label,
                digest=keys.digest(secret),
                created_us=self._clock.now_us(),
            )
        )
        try:
            await session.flush()
        except IntegrityError:
            raise ConflictError(f"key {key_id} exists.", hint="Make a new key.") from None
        return key_id

    # ------------------------------------------------------------ plans

    async def plans(self) -> list[CameraPlan]:
        """What every camera of every tenant shall do, disabled ones too, by tenant and id."""
        async with self._sessions.read() as session:
            rows = await session.scalars(
                select(CameraRow)
                .options(selectinload(CameraRow.rules))
                .order_by(CameraRow.tenant, CameraRow.id)
            )
            return [
                CameraPlan(
                    camera=camera_of(row),
                    rules=tuple(rule_of(rule) for rule in row.rules),
                    revision=row.revision,
                )
                for row in rows
            ]


async def _require_tenant_row(session: AsyncSession, tenant: str) -> None:
    if await session.get(TenantRow, tenant) is None:
        raise NotFoundError(f"there is no tenant {tenant}.")
