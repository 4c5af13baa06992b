"""The records: what is kept in SQL. SQLite on one machine, PostgreSQL in production."""

from cluster.records.database import Database
from cluster.records.jobs import TenantJobs
from cluster.records.keys import new_key
from cluster.records.platform import PlatformRecords
from cluster.records.schema import current, downgrade, head, migrate
from cluster.records.tenant import TenantRecords
from cluster.records.tracks import TenantTracks
from cluster.records.types import (
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
)

__all__ = [
    "AlarmPage",
    "AlarmQuery",
    "AlarmRecord",
    "AlarmState",
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
    "TenantRecords",
    "TenantTracks",
    "current",
    "downgrade",
    "head",
    "migrate",
    "new_key",
]
