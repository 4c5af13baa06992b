"""The records: what is kept in SQL. SQLite on one machine, PostgreSQL in production."""

from cluster.stores.db.audit import AuditHeads, AuditLog, AuditPage
from cluster.stores.db.database import Database
from cluster.stores.db.jobs import TenantJobs
from cluster.stores.db.key_records import TenantKeys
from cluster.stores.db.keys import new_key
from cluster.stores.db.platform import PlatformRecords
from cluster.stores.db.recordings import TenantRecordings
from cluster.stores.db.schema import current, downgrade, head, migrate
from cluster.stores.db.tenant import TenantRecords
from cluster.stores.db.tracks import TenantTracks
from cluster.stores.db.types import (
    AlarmPage,
    AlarmQuery,
    AlarmRecord,
    AlarmState,
    CameraChanges,
    IssuedKey,
    JobRecord,
    JobState,
    KeyInfo,
    ObjectPage,
    ObjectQuery,
    ObjectRecord,
    Principal,
    SlotCount,
    Tenant,
    User,
    UserChanges,
)
from cluster.stores.db.user_sessions import UserSessions
from cluster.stores.db.users import TenantUsers

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
    "IssuedKey",
    "JobRecord",
    "JobState",
    "KeyInfo",
    "ObjectPage",
    "ObjectQuery",
    "ObjectRecord",
    "PlatformRecords",
    "Principal",
    "SlotCount",
    "Tenant",
    "TenantJobs",
    "TenantKeys",
    "TenantRecordings",
    "TenantRecords",
    "TenantTracks",
    "TenantUsers",
    "User",
    "UserChanges",
    "UserSessions",
    "current",
    "downgrade",
    "head",
    "migrate",
    "new_key",
]
