"""The stores of one tenant, as far as retention uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import AuditLog, TenantExpiry, TenantRetention
from cluster.stores.vectors.remote import RemoteMemory
from pipelines.errors import AtalaiaError, NotFoundError
from pipelines.retention import Window

# 500 vectors take the embedded engine some 10 ms; the memory may be busy with searches.
MEMORY_TIMEOUT_S = 30.0
# Things whose files are removed at the same time. Where all of them fail, the storage is away.
AT_ONCE = 8

T = TypeVar("T")


class TenantMemory(Protocol):
    """The vectors of one tenant; `TenantVectors` is one."""

    async def remove(self, camera: str, window: Window, limit: int) -> int: ...


@dataclass(frozen=True, slots=True)
class BoundMemory:
    """The memory of one tenant."""

    memory: RemoteMemory
    tenant: str

    async def remove(self, camera: str, window: Window, limit: int) -> int:
        """As `TenantVectors.remove`. Raises UnavailableError."""
        removed: int = await self.memory.call("remove", self.tenant, camera, window, limit)
        return removed


@dataclass(frozen=True, slots=True)
class TenantStores:
    """Closed by who made them."""

    tenant: str
    retention: TenantRetention
    expiry: TenantExpiry
    blobs: TenantBlobs
    memory: TenantMemory
    audit: AuditLog


class StoredFile(NamedTuple):
    """A file to remove.

    Attributes:
        size: bytes, where they are known; None: the storage is asked.
    """

    key: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk(Generic[T]):
    """Things whose removal was tried at the same time, and those that went, with the bytes of
    their files."""

    tried: Sequence[T]
    gone: list[tuple[T, int]]

    @property
    def refused(self) -> bool:
        """Whether all of several failed, as where the storage is away."""
        return not self.gone and len(self.tried) == AT_ONCE


async def remove_in_chunks(
    blobs: TenantBlobs,
    things: Sequence[T],
    files: Callable[[T], Awaitable[Sequence[StoredFile]]],
    failed: Callable[[T, AtalaiaError], None],
) -> AsyncGenerator[Chunk[T], None]:
    """Remove the files of things, `AT_ONCE` things at a time.

    Args:
        files: of a thing, in the order in which they go. May raise like the storage.
        failed: called with each thing whose files stay, and why.
    """
    for n in range(0, len(things), AT_ONCE):
        tried = things[n : n + AT_ONCE]
        results = await all_of(_remove_files(blobs, files(thing)) for thing in tried)
        gone = list[tuple[T, int]]()
        for thing, result in zip(tried, results, strict=True):
            if isinstance(result, AtalaiaError):
                failed(thing, result)
            else:
                gone.append((thing, result))
        yield Chunk(tried, gone)


async def all_of(works: Iterable[Awaitable[T]]) -> list[T | AtalaiaError]:
    """Do several things at once: of each the result, or why it failed."""
    found = list[T | AtalaiaError]()
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, AtalaiaError):
            raise result
        found.append(result)
    return found


async def _remove_files(blobs: TenantBlobs, files: Awaitable[Sequence[StoredFile]]) -> int:
    """Remove files one after the other; the bytes of all. Raises InputError, UnavailableError."""
    return sum([await _remove_file(blobs, file) for file in await files])


async def _remove_file(blobs: TenantBlobs, file: StoredFile) -> int:
    """Remove a file; one that is missing is no failure.

    Returns:
        Its size in bytes; 0 if the storage was asked, and there was none.

    Raises:
        InputError: a row names what is no key; UnavailableError: the storage is away or refuses.
    """
    size = file.size
    if size is None:
        try:
            size = (await blobs.stat(file.key)).size
        except NotFoundError:
            return 0
    await blobs.delete(file.key)
    return size
