"""The door to the records: one engine, and repositories bound to one tenant or to the platform."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy import text

from cluster.core.tenancy import require_tenant
from cluster.stores.audit.events import PLATFORM_CHAIN
from cluster.stores.db.anonymisation import TenantAnonymisation
from cluster.stores.db.audit import AuditHeads, AuditLog
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.db.engine import compact, open_engine
from cluster.stores.db.expiry import TenantExpiry
from cluster.stores.db.jobs import TenantJobs
from cluster.stores.db.key_records import TenantKeys
from cluster.stores.db.platform import PlatformRecords
from cluster.stores.db.recordings import TenantRecordings
from cluster.stores.db.retention import TenantRetention
from cluster.stores.db.secrets import StoredSecrets
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant import TenantRecords
from cluster.stores.db.tracks import TenantTracks
from cluster.stores.db.user_sessions import UserSessions
from cluster.stores.db.users import TenantUsers
from pipelines.clock import Clock, SystemClock


class Database:
    """An SQLite file or a PostgreSQL database. Belongs to the event loop that first uses it.

    Args:
        url: SQLAlchemy URL; `sqlite:///…` and `postgresql://…` get our async drivers.
        cipher: encrypts and decrypts the URLs of cameras. Without one they cannot be written, and
            cameras are read as unreadable: enough for who only needs the rest.
        clock: what rows are stamped with.

    Raises:
        ConfigError: the URL cannot be used.
    """

    def __init__(
        self, url: str, *, cipher: RecordCipher | None = None, clock: Clock | None = None
    ) -> None:
        self._engine = open_engine(url)
        self._cipher = cipher or RecordCipher()
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        await self._engine.dispose()

    def tenant(self, tenant: str) -> TenantRecords:
        """The records of one tenant; the only way to rows that belong to tenants.

        Raises:
            InputError: `tenant` is no slug.
        """
        require_tenant(tenant)
        return TenantRecords(Sessions(self._engine, tenant), tenant, self._clock, self._cipher)

    def recordings(self, tenant: str) -> TenantRecordings:
        """The index of one tenant's recordings. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantRecordings(Sessions(self._engine, tenant), tenant, self._clock)

    def tracks(self, tenant: str) -> TenantTracks:
        """One tenant's objects and their paths. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantTracks(Sessions(self._engine, tenant), tenant, self._clock)

    def jobs(self, tenant: str) -> TenantJobs:
        """The jobs of one tenant. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantJobs(Sessions(self._engine, tenant), tenant, self._clock)

    def retention(self, tenant: str) -> TenantRetention:
        """One tenant's policy, holds and reports. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantRetention(Sessions(self._engine, tenant), tenant, self._clock)

    def anonymisation(self, tenant: str) -> TenantAnonymisation:
        """One tenant's anonymisation policy and reveals. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantAnonymisation(Sessions(self._engine, tenant), tenant, self._clock)

    def expiry(self, tenant: str) -> TenantExpiry:
        """One tenant's rows, to be removed. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantExpiry(Sessions(self._engine, tenant), tenant)

    def keys(self, tenant: str) -> TenantKeys:
        """The keys of one tenant. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantKeys(Sessions(self._engine, tenant), tenant, self._clock)

    def users(self, tenant: str) -> TenantUsers:
        """The users of one tenant. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return TenantUsers(Sessions(self._engine, tenant), tenant, self._clock)

    def sessions(self, tenant: str) -> UserSessions:
        """The sessions of one tenant's users. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return UserSessions(Sessions(self._engine, tenant), tenant, self._clock)

    def audit(self, tenant: str) -> AuditLog:
        """The audit log of one tenant. Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return self._audit(tenant)

    def platform_audit(self) -> AuditLog:
        """The audit log of the platform itself; it holds nothing of the tenants' own."""
        return self._audit(PLATFORM_CHAIN)

    def audit_chain(self, chain: str) -> AuditLog:
        """One of the two above, by the name of the chain: for the writer and for checks."""
        return self.platform_audit() if chain == PLATFORM_CHAIN else self.audit(chain)

    def audit_heads(self) -> AuditHeads:
        """Where every chain ends: for anchors and checks."""
        return AuditHeads(Sessions(self._engine, None))

    def _audit(self, chain: str) -> AuditLog:
        return AuditLog(Sessions(self._engine, chain), chain)

    def platform(self) -> PlatformRecords:
        """Tenants, keys, and the plans of every camera: for the platform's own processes."""
        return PlatformRecords(Sessions(self._engine, None), self._clock, self._cipher)

    def secrets(self) -> StoredSecrets:
        """How the secrets of all tenants are stored: to encrypt them with another key."""
        return StoredSecrets(Sessions(self._engine, None), self._cipher)

    async def compact(self) -> bool:
        """Remove earlier contents of rows from the file. See `engine.compact`."""
        return await compact(self._engine)

    async def ping(self) -> None:
        """Raises UnavailableError where the database is away or has no tables yet."""
        async with Sessions(self._engine, None).read() as session:
            await session.execute(text("SELECT 1 FROM tenants LIMIT 1"))
