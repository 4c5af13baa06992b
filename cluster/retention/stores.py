"""The stores of one tenant, as far as retention uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cluster.core.names import MEMORY
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import AuditLog, TenantExpiry, TenantRetention
from pipelines.errors import AtalaiaError, NotFoundError
from pipelines.retention import Window

# 500 vectors take the embedded engine some 10 ms; the memory may be busy with searches.
MEMORY_TIMEOUT_S = 30.0

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle


class TenantMemory(Protocol):
    """The vectors of one tenant; `TenantVectors` is one."""

    async def remove(self, camera: str, window: Window, limit: int) -> int: ...


class RemoteMemory:
    """The Memory deployment, which alone may open the embedded engine's folder. Usable from one
    event loop."""

    def __init__(self) -> None:
        self._handle: DeploymentHandle[Any] | None = None

    async def remove(self, tenant: str, camera: str, window: Window, limit: int) -> int:
        """As `TenantVectors.remove`. Raises UnavailableError."""
        # Here, because they import Ray Serve (1 s): most rounds have no vectors to remove.
        from cluster.core.handles import deployment
        from cluster.core.remote import ray_errors

        async with ray_errors("memory", MEMORY_TIMEOUT_S):
            if self._handle is None:  # the application may start after this process
                self._handle = deployment(MEMORY)
            removed: int = await self._handle.remove.remote(tenant, camera, window, limit)
        return removed


@dataclass(frozen=True, slots=True)
class BoundMemory:
    """The memory of one tenant."""

    memory: RemoteMemory
    tenant: str

    async def remove(self, camera: str, window: Window, limit: int) -> int:
        """As `TenantVectors.remove`. Raises UnavailableError."""
        return await self.memory.remove(self.tenant, camera, window, limit)


@dataclass(frozen=True, slots=True)
class TenantStores:
    """Closed by who made them."""

    tenant: str
    retention: TenantRetention
    expiry: TenantExpiry
    blobs: TenantBlobs
    memory: TenantMemory
    audit: AuditLog


async def remove_file(blobs: TenantBlobs, key: str) -> int:
    """Remove a file; one that is missing is no failure.

    Returns:
        Its size in bytes; 0 if there was none.

    Raises:
        UnavailableError: the storage is away or refuses.
    """
    try:
        size = (await blobs.stat(key)).size
    except NotFoundError:
        return 0
    await blobs.delete(key)
    return size


async def remove_files(blobs: TenantBlobs, keys: Sequence[str]) -> int:
    """Remove files one after the other; the bytes of all. Raises UnavailableError."""
    return sum([await remove_file(blobs, key) for key in keys])


async def remove_all(
    blobs: TenantBlobs, things: Sequence[Sequence[str]]
) -> list[int | AtalaiaError]:
    """Remove the files of several things at once: of each the bytes, or why it failed."""
    found = await asyncio.gather(
        *(remove_files(blobs, keys) for keys in things), return_exceptions=True
    )
    for result in found:
        if isinstance(result, BaseException) and not isinstance(result, AtalaiaError):
            raise result
    return [result for result in found if isinstance(result, int | AtalaiaError)]
