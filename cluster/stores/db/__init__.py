"""The records: what is kept in SQL. SQLite on one machine, PostgreSQL in production."""

from cluster.stores.db.anonymisation import TenantAnonymisation
from cluster.stores.db.audit import AuditHeads, AuditLog, AuditPage
from cluster.stores.db.database import Database
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.db.expiry import TenantExpiry
from cluster.stores.db.jobs import TenantJobs
from cluster.stores.db.key_records import TenantKeys
from cluster.stores.db.keys import new_key
from cluster.stores.db.platform import PlatformRecords
from cluster.stores.db.recordings import TenantRecordings
from cluster.stores.db.retention import TenantRetention
from cluster.stores.db.schema import current, downgrade, head, migrate
from cluster.stores.db.secrets import Reencrypted, StoredSecrets, UnreadableRow
from cluster.stores.db.tenant import TenantRecords
from cluster.stores.db.tracks import TenantTracks
from cluster.stores.db.types import (
    AlarmPage,
    AlarmQuery,
    AlarmRecord,
    AlarmState,
    CameraChanges,
    HoldRecord,
    IssuedKey,
    JobRecord,
    Kept,
    KeyInfo,
    KindCount,
    ObjectPage,
    ObjectQuery,
    ObjectRecord,
    Principal,
    RecordCounts,
    RemovalCause,
    RetentionRun,
    Reveal,
    SlotCount,
    StoredAnonymisation,
    StoredPolicy,
    Tenant,
    User,
    UserChanges,
)
from cluster.stores.db.user_sessions import UserSessions
from cluster.stores.db.users import TenantUsers
from pipelines.domain import JobState

__all__ = [
    "AlarmPage",
    "AlarmQuery",
    "AlarmRecord",
    "AlarmState",
    "AuditHeads",
    "AuditLog",
    "AuditPage",
    "CameraChanges",
    "Database",
    "HoldRecord",
    "IssuedKey",
    "JobRecord",
    "JobState",
    "Kept",
    "KeyInfo",
    "KindCount",
    "ObjectPage",
    "ObjectQuery",
    "ObjectRecord",
    "PlatformRecords",
    "Principal",
    "RecordCipher",
    "RecordCounts",
    "Reencrypted",
    "RemovalCause",
    "RetentionRun",
    "Reveal",
    "SlotCount",
    "StoredAnonymisation",
    "StoredPolicy",
    "StoredSecrets",
    "Tenant",
    "TenantAnonymisation",
    "TenantExpiry",
    "TenantJobs",
    "TenantKeys",
    "TenantRecordings",
    "TenantRecords",
    "TenantRetention",
    "TenantTracks",
    "TenantUsers",
    "UnreadableRow",
    "User",
    "UserChanges",
    "UserSessions",
    "current",
    "downgrade",
    "head",
    "migrate",
    "new_key",
]
