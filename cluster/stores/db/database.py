"""The door to the records: one engine, and repositories bound to one tenant or to the platform."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy import text

from cluster.core.settings import Settings
from cluster.core.tenancy import require_tenant
from cluster.stores.audit.events import PLATFORM_CHAIN
from cluster.stores.db.anonymisation import TenantAnonymisation
from cluster.stores.db.audit import AuditHeads, AuditLog
from cluster.stores.db.coverage import TenantCoverage
from cluster.stores.db.credentials import Credentials
from cluster.stores.db.dump import TenantDump
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.db.engine import compact, open_engine
from cluster.stores.db.erasure_work import ErasureWork
from cluster.stores.db.erasures import PlatformErasures, TenantErasures
from cluster.stores.db.expiry import TenantExpiry
from cluster.stores.db.groups import TenantGroups, VisibleCameras
from cluster.stores.db.handover import Handover
from cluster.stores.db.jobs import TenantJobs
from cluster.stores.db.key_records import TenantKeys
from cluster.stores.db.moves import TenantMoves
from cluster.stores.db.platform import PlatformRecords
from cluster.stores.db.recordings import TenantRecordings
from cluster.stores.db.remasking import TenantRemasking
from cluster.stores.db.retention import TenantRetention
from cluster.stores.db.secrets import StoredSecrets
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant import TenantRecords
from cluster.stores.db.tracks import TenantTracks
from cluster.stores.db.types import Groups
from cluster.stores.db.user_sessions import UserSessions
from cluster.stores.db.users import TenantUsers
from pipelines.clock import Clock, SystemClock
from pipelines.moving import SHUT, MovePhase

NEVER: frozenset[MovePhase] = frozenset()
# Where a tenant left, its audit log says afterwards what became of the copy.
WHILE_MOVING = SHUT - {MovePhase.MOVED}


class Database:
    """An SQLite file or a PostgreSQL database. Belongs to the event loop that first uses it.

    Args:
        url: SQLAlchemy URL; `sqlite:///…` and `postgresql://…` get our async drivers.
        tenant_url: the same database, with a login that can act as a tenant and as nothing else;
            None: that of `url` does that work, too.
        cipher: encrypts and decrypts the URLs of cameras. Without one they cannot be written, and
            cameras are read as unreadable: enough for who only needs the rest.
        clock: what rows are stamped with.

    Raises:
        ConfigError: the URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        tenant_url: str | None = None,
        cipher: RecordCipher | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._engine = open_engine(url)
        self._tenants = self._engine if tenant_url is None else open_engine(tenant_url)
        self._cipher = cipher or RecordCipher()
        self._clock = clock or SystemClock()

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        cipher: RecordCipher | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """The configured database, with the logins that the settings name. Raises ConfigError."""
        tenant_url = settings.database.tenant_url
        return cls(
            settings.database_url,
            tenant_url=tenant_url.get_secret_value() if tenant_url else None,
            cipher=cipher,
            clock=clock,
        )

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
        await self._tenants.dispose()

    def tenant(self, tenant: str, groups: Groups = None) -> TenantRecords:
        """The records of one tenant; the only way to rows that belong to tenants.

        Args:
            groups: camera groups whose cameras are all that there is; None: all cameras.

        Raises:
            InputError: `tenant` is no slug.
        """
        sessions = self._of_tenant(tenant, groups)
        return TenantRecords(sessions, tenant, self._clock, self._cipher)

    def recordings(self, tenant: str, groups: Groups = None) -> TenantRecordings:
        """The index of one tenant's recordings. `groups`, errors: as `tenant`."""
        return TenantRecordings(self._of_tenant(tenant, groups), tenant, self._clock)

    def tracks(self, tenant: str, groups: Groups = None) -> TenantTracks:
        """One tenant's objects and their paths. `groups`, errors: as `tenant`."""
        return TenantTracks(self._of_tenant(tenant, groups), tenant, self._clock)

    def coverage(self, tenant: str, groups: Groups = None) -> TenantCoverage:
        """When one tenant's cameras were analysed and blind. `groups`, errors: as `tenant`."""
        return TenantCoverage(self._of_tenant(tenant, groups), tenant)

    def jobs(self, tenant: str, groups: Groups = None) -> TenantJobs:
        """The jobs of one tenant. `groups`, errors: as `tenant`."""
        return TenantJobs(self._of_tenant(tenant, groups), tenant, self._clock)

    def retention(self, tenant: str, groups: Groups = None) -> TenantRetention:
        """One tenant's policy, holds and reports. `groups`, errors: as `tenant`."""
        return TenantRetention(self._of_tenant(tenant, groups), tenant, self._clock)

    def groups(self, tenant: str) -> TenantGroups:
        """The camera groups of one tenant. Raises InputError: `tenant` is no slug."""
        return TenantGroups(self._of_tenant(tenant), tenant, self._clock)

    def visible(self, tenant: str, groups: Groups) -> VisibleCameras:
        """Which cameras who is limited to `groups` may see. Raises InputError: `tenant` is no
        slug."""
        return VisibleCameras(self._of_tenant(tenant), tenant, groups)

    def anonymisation(self, tenant: str, groups: Groups = None) -> TenantAnonymisation:
        """One tenant's anonymisation policy and reveals. `groups`, errors: as `tenant`."""
        return TenantAnonymisation(self._of_tenant(tenant, groups), tenant, self._clock)

    def expiry(self, tenant: str) -> TenantExpiry:
        """One tenant's rows, to be removed. Raises InputError: `tenant` is no slug."""
        return TenantExpiry(self._of_tenant(tenant), tenant)

    def remasking(self, tenant: str) -> TenantRemasking:
        """What of one tenant is from before its cameras had their masks. Raises InputError:
        `tenant` is no slug."""
        return TenantRemasking(self._of_tenant(tenant), tenant)

    def erasures(self, tenant: str) -> TenantErasures:
        """What was asked to be erased of one tenant. Raises InputError: `tenant` is no slug."""
        return TenantErasures(self._of_tenant(tenant), tenant, self._clock)

    def erasure_work(self, tenant: str) -> ErasureWork:
        """The same, for the process that erases. Raises InputError: `tenant` is no slug."""
        # Also of a tenant that lives in another cluster by now.
        return ErasureWork(self._of_tenant(tenant, shut=NEVER), tenant, self._clock)

    def platform_erasures(self) -> PlatformErasures:
        """What is under way of all tenants; and the erasures of tenants as a whole."""
        return PlatformErasures(Sessions(self._engine, None))

    def dump(self, tenant: str) -> TenantDump:
        """All rows of one tenant, without secrets. Raises InputError: `tenant` is no slug."""
        return TenantDump(self._of_tenant(tenant), tenant)

    def keys(self, tenant: str) -> TenantKeys:
        """The keys of one tenant. Raises InputError: `tenant` is no slug."""
        return TenantKeys(self._of_tenant(tenant), tenant, self._clock)

    def users(self, tenant: str) -> TenantUsers:
        """The users of one tenant. Raises InputError: `tenant` is no slug."""
        return TenantUsers(self._of_tenant(tenant), tenant, self._clock)

    def sessions(self, tenant: str) -> UserSessions:
        """The sessions of one tenant's users. Raises InputError: `tenant` is no slug."""
        return UserSessions(self._of_tenant(tenant), tenant, self._clock)

    def credentials(self) -> Credentials:
        """Which keys and sessions of everybody still work: for what outlives its request."""
        return Credentials(Sessions(self._engine, None), self._clock)

    def audit(self, tenant: str) -> AuditLog:
        """The audit log of one tenant. Raises InputError: `tenant` is no slug."""
        return AuditLog(self._of_tenant(tenant, shut=WHILE_MOVING), tenant)

    def platform_audit(self) -> AuditLog:
        """The audit log of the platform itself; it holds nothing of the tenants' own."""
        own = Sessions(self._engine, PLATFORM_CHAIN, as_platform=True)
        return AuditLog(own, PLATFORM_CHAIN)

    def audit_chain(self, chain: str) -> AuditLog:
        """One of the two above, by the name of the chain: for the writer and for checks."""
        return self.platform_audit() if chain == PLATFORM_CHAIN else self.audit(chain)

    def audit_heads(self) -> AuditHeads:
        """Where every chain ends: for anchors and checks."""
        return AuditHeads(Sessions(self._engine, None))

    def moves(self, run: str = "") -> TenantMoves:
        """Which tenants are on their way to another cluster."""
        return TenantMoves(Sessions(self._engine, None), self._clock, run)

    def handover(self, tenant: str, run: str = "") -> Handover:
        """All rows of one tenant with their secrets, for the command that moves it. Raises
        InputError: `tenant` is no slug."""
        own = self._of_tenant(tenant, shut=NEVER)
        return Handover(own, Sessions(self._engine, None), tenant, self._cipher, run)

    def _of_tenant(
        self, tenant: str, groups: Groups = None, *, shut: frozenset[MovePhase] = SHUT
    ) -> Sessions:
        """Raises InputError: `tenant` is no slug."""
        require_tenant(tenant)
        return Sessions(self._tenants, tenant, groups, shut=shut)

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
        """Raises UnavailableError where the database is away or has no tables yet, or where a
        login may not take its role."""
        async with Sessions(self._engine, None).read() as session:
            await session.execute(text("SELECT 1 FROM tenants LIMIT 1"))
        if self._tenants.dialect.name == "postgresql":
            async with Sessions(self._tenants, "").read() as session:
                await session.execute(text("SELECT 1 FROM tenants LIMIT 1"))
