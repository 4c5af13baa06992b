"""What a receipt says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.core.erasure_settings import ErasureSettings
from cluster.erasure.receipt import FORMAT
from cluster.stores.db import ErasureRecord
from pipelines.erasure import ErasureKind
from pipelines.retention import DAY_US
from pipelines.times import rfc3339

STORES = ("blobs", "redis", "sql", "vectors")


def statement(
    record: ErasureRecord,
    settings: ErasureSettings,
    *,
    digests: Sequence[str],
    held: Mapping[str, int],
    checked_us: int,
    audit: tuple[int, str],
    spool_bytes: int,
) -> dict[str, Any]:
    """The content of a receipt. It holds counts, times and hashes, and of persons only who asked.

    Args:
        record: as it is at the end.
        digests: of the objects that were erased.
        held: what legal holds keep, by kind.
        checked_us: when all stores had been searched and nothing was found.
        audit: where the tenant's audit log ends: number and hash.
        spool_bytes: what may wait on the disk of one host for stores that are away.
    """
    return {
        "format": FORMAT,
        "erasure": str(record.id),
        "tenant": record.tenant,
        "subject": _subject(record, digests),
        "reason": record.reason,
        "asked_by": record.created_by,
        "asked_at": rfc3339(record.created_us),
        "ended_at": rfc3339(checked_us),
        "removed": _removed(record),
        "held": dict(sorted(held.items())),
        "check": {"at": rfc3339(checked_us), "found": dict.fromkeys(STORES, 0)},
        "remainders": _remainders(record, settings, checked_us, audit, spool_bytes),
    }


def _subject(record: ErasureRecord, digests: Sequence[str]) -> dict[str, Any]:
    if record.kind is ErasureKind.TENANT:
        return {"kind": "tenant"}
    return {"kind": "objects", "asked": record.objects, "erased": sorted(digests)}


def _removed(record: ErasureRecord) -> dict[str, dict[str, dict[str, int]]]:
    """By store and kind."""
    found: dict[str, dict[str, dict[str, int]]] = {store: {} for store in STORES}
    for name, count in sorted(record.counts.items()):
        store, _, kind = name.partition(".")
        found[store][kind] = {"count": count.removed} | (
            {"bytes": count.bytes} if store == "blobs" else {}
        )
    return found


def _remainders(
    record: ErasureRecord,
    settings: ErasureSettings,
    now_us: int,
    audit: tuple[int, str],
    spool_bytes: int,
) -> list[dict[str, Any]]:
    def until(days: float | None) -> str | None:
        return None if days is None else rfc3339(now_us + round(days * DAY_US))

    found: list[dict[str, Any]] = [
        {"what": "backups", "until": until(settings.backup_days)},
        {"what": "logs", "until": until(settings.log_days)},
        {
            "what": "audit log: who did what, by id; no content",
            "until": None,
            "entries": audit[0],
            "hash": audit[1],
        },
        {
            "what": "spools of hosts: refused when they arrive",
            "until": None,
            "bytes_per_host": spool_bytes,
        },
        {"what": "space that the engines freed in their files, until they use it", "until": None},
        {"what": "copies that were downloaded before", "until": None},
    ]
    if record.kind is ErasureKind.OBJECTS:
        found.append({"what": "hashes that keep the objects from coming back", "until": None})
    return found
