"""The stores of one tenant, as far as erasure uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cluster.core.names import MEMORY
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import TenantEraser
from cluster.stores.db import AuditLog, ErasureWork, TenantJobs, TenantRetention
from pipelines.erasure import Target, WaitReason
from pipelines.errors import AtalaiaError, InputError

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

# A whole tenant goes in one call of the engine; it may be busy with searches, too.
MEMORY_TIMEOUT_S = 60.0

Steps = AsyncGenerator[None, None]
"""Work in pieces: others may have their turn after each."""


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


class RemoteMemory:
    """The Memory deployment, which alone may open the embedded engine's folder. Usable from one
    event loop."""

    def __init__(self) -> None:
        self._handle: DeploymentHandle[Any] | None = None

    async def call(self, method: str, *args: object) -> Any:
        """Raises UnavailableError."""
        # Here, because they import Ray Serve (1 s): most rounds have nothing to erase.
        import ray

        from cluster.core.handles import deployment
        from cluster.core.remote import ray_errors, unavailable

        if not ray.is_initialized():
            raise unavailable("memory")  # to look for it would start a cluster
        async with ray_errors("memory", MEMORY_TIMEOUT_S):
            if self._handle is None:  # the application may start after this process
                self._handle = deployment(MEMORY)
            return await getattr(self._handle, method).remote(*args)


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


async def each_or_error(*works: Any) -> list[Any | AtalaiaError]:
    """The results of several calls at once, or why one failed."""
    found = await asyncio.gather(*works, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException) and not isinstance(result, AtalaiaError):
            raise result
    return list(found)
