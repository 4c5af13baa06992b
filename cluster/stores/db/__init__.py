"""The records: what is kept in SQL. SQLite on one machine, PostgreSQL in production."""

from cluster.stores.db.audit import AuditHeads, AuditLog, AuditPage
from cluster.stores.db.database import Database
from cluster.stores.db.jobs import TenantJobs
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
    RecordCounts,
    SlotCount,
    Tenant,
)

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
    "RecordCounts",
    "SlotCount",
    "Tenant",
    "TenantJobs",
    "TenantRecordings",
    "TenantRecords",
    "TenantTracks",
    "current",
    "downgrade",
    "head",
    "migrate",
    "new_key",
]
