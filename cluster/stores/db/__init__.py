"""The records: what is kept in SQL. SQLite on one machine, PostgreSQL in production."""

from cluster.stores.db.anonymisation import TenantAnonymisation
from cluster.stores.db.audit import AuditHeads, AuditLog, AuditPage
from cluster.stores.db.coverage import CoverTotal, Gap, GapPage, TenantCoverage, Told
from cluster.stores.db.credentials import Credentials
from cluster.stores.db.database import Database
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.db.erasure_work import ErasureWork
from cluster.stores.db.erasures import PlatformErasures, TenantErasures
from cluster.stores.db.expiry import TenantExpiry
from cluster.stores.db.groups import TenantGroups, VisibleCameras
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
    CameraGroup,
    ErasedCount,
    ErasureItem,
    ErasureRecord,
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
    StepReport,
    StorageUse,
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
    "CameraGroup",
    "CoverTotal",
    "Credentials",
    "Database",
    "ErasedCount",
    "ErasureItem",
    "ErasureRecord",
    "ErasureWork",
    "Gap",
    "GapPage",
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
    "PlatformErasures",
    "PlatformRecords",
    "Principal",
    "RecordCipher",
    "RecordCounts",
    "Reencrypted",
    "RemovalCause",
    "RetentionRun",
    "Reveal",
    "SlotCount",
    "StepReport",
    "StorageUse",
    "StoredAnonymisation",
    "StoredPolicy",
    "StoredSecrets",
    "Tenant",
    "TenantAnonymisation",
    "TenantCoverage",
    "TenantErasures",
    "TenantExpiry",
    "TenantGroups",
    "TenantJobs",
    "TenantKeys",
    "TenantRecordings",
    "TenantRecords",
    "TenantRetention",
    "TenantTracks",
    "TenantUsers",
    "Told",
    "UnreadableRow",
    "User",
    "UserChanges",
    "UserSessions",
    "VisibleCameras",
    "current",
    "downgrade",
    "head",
    "migrate",
    "new_key",
]
