"""The stores of one tenant, as far as erasure uses them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import TenantEraser
from cluster.stores.db import AuditLog, ErasureWork, TenantJobs, TenantRetention
from cluster.stores.vectors.remote import RemoteMemory
from pipelines.erasure import Target, WaitReason
from pipelines.errors import InputError

# A whole tenant goes in one call of the engine; it may be busy with searches, too.
MEMORY_TIMEOUT_S = 60.0


class Wait(Exception):
    """A step cannot be done yet."""

    def __init__(self, reason: WaitReason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class TenantMemory(Protocol):
    """The vectors of one tenant; `TenantVectors` is one."""

    async def count(self) -> int: ...

    async def known(self, targets: Sequence[Target]) -> list[Target]: ...

    async def forget(self, targets: Sequence[Target]) -> None: ...

    async def erase(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BoundMemory:
    """The memory of one tenant. Every method may raise UnavailableError."""

    memory: RemoteMemory
    tenant: str

    async def count(self) -> int:
        number: int = await self.memory.call("count", self.tenant)
        return number

    async def known(self, targets: Sequence[Target]) -> list[Target]:
        found: list[Target] = await self.memory.call("known", self.tenant, list(targets))
        return found

    async def forget(self, targets: Sequence[Target]) -> None:
        await self.memory.call("forget", self.tenant, list(targets))

    async def erase(self) -> None:
        await self.memory.call("erase", self.tenant)


@dataclass(frozen=True, slots=True)
class ErasureStores:
    """Closed by who made them."""

    tenant: str
    work: ErasureWork
    jobs: TenantJobs
    retention: TenantRetention
    blobs: TenantBlobs
    memory: TenantMemory
    redis: TenantEraser
    audit: AuditLog


async def size_of(blobs: TenantBlobs, keys: Sequence[str]) -> int | None:
    """Bytes of those files that exist; None: none does. Raises UnavailableError."""
    sizes = []
    for key in keys:
        try:
            sizes.append((await blobs.stat(key)).size)
        except InputError:
            continue  # there is none, or no blob can have this name
    return sum(sizes) if sizes else None


async def remove_files(blobs: TenantBlobs, keys: Sequence[str]) -> None:
    """Raises UnavailableError."""
    for key in keys:
        with suppress(InputError):  # no blob can have this name
            await blobs.delete(key)
