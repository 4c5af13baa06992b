"""Footage that is gone for good: the operator confirms it, and the index forgets it."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.blobs.folder import StorageFolder
from cluster.stores.db import Database
from pipelines.clock import Clock

ACTOR = "system:cli"
_PAGE = 500


async def forget_missing(
    folder: StorageFolder, tenant: str, database: Database, clock: Clock
) -> int:
    """Remove from a tenant's index what is not in the folder, held or not, and log how much that
    was in its audit log. Idempotent.

    Raises:
        UnavailableError: the database is away; what was removed so far stays removed.
    """
    removed = 0
    after: tuple[str, int] | None = None
    while page := await database.recordings(tenant).blobs(after, _PAGE):
        after = page[-1][:2]
        gone = defaultdict[str, list[int]](list)
        for camera, start_us in await asyncio.to_thread(_missing, folder, tenant, page):
            gone[camera].append(start_us)
        for camera, starts_us in gone.items():
            await database.expiry(tenant).remove_recordings(camera, starts_us)
            removed += len(starts_us)
    if removed:
        event = AuditEvent(
            at_us=clock.now_us(),
            actor=ACTOR,
            action=AuditAction.RETENTION_REMOVE,
            object_kind="retention",
            object_id="lost",
            details={"recordings": removed},
        )
        await database.audit(tenant).append([event])
    return removed


def _missing(
    folder: StorageFolder, tenant: str, page: list[tuple[str, int, str]]
) -> list[tuple[str, int]]:
    return [(camera, start_us) for camera, start_us, blob in page if folder.missing(tenant, [blob])]
