"""Erases a whole tenant, store by store. Each method may be broken off anywhere and begun again."""

from __future__ import annotations

from uuid import UUID

from cluster.erasure.stores import ErasureStores, Wait
from cluster.retention.sweep import Steps
from cluster.stores.blobs.tenant import ListedBlob
from cluster.stores.db import ErasedCount, ErasureItem
from pipelines.erasure import WaitReason
from pipelines.errors import ConflictError

FILES, KEYS, VECTORS = "blobs.files", "redis.keys", "vectors.objects"
# Files between two looks at the database, and keys in one call of Redis.
FILES_AT_ONCE, KEYS_AT_ONCE = 64, 100


class TenantErasure:
    """One erasure of a tenant."""

    def __init__(self, stores: ErasureStores, erasure: UUID) -> None:
        self._stores = stores
        self._work = stores.work
        self._erasure = erasure

    async def close(self) -> Steps:
        """Nobody signs in any more, and no camera is to run: the controller ends their rooms.

        Raises:
            Wait: a legal hold is open.
        """
        try:
            await self._work.close(self._erasure)
        except ConflictError as error:
            raise Wait(WaitReason.HELD, error.message) from None
        yield

    async def records(self) -> Steps:
        """Remove all rows but those of this erasure, earlier receipts, and the audit log."""
        while await self._work.remove_rows(self._erasure):
            yield

    async def streams(self) -> Steps:
        """Remove every key in Redis."""
        while True:
            keys = await self._stores.redis.keys()
            items = [ErasureItem(kind=KEYS, key=key, bytes=0) for key in keys[:KEYS_AT_ONCE]]
            await self._work.put(self._erasure, items)
            left = await self._work.items(self._erasure, KEYS)
            if not left:
                return
            await self._stores.redis.remove_keys([item.key for item in left])
            await self._work.settle(self._erasure, left, keep=False)
            yield

    async def vectors(self) -> Steps:
        """Forget everything in one call."""
        number = await self._stores.memory.count()
        if number:
            item = ErasureItem(kind=VECTORS, key="all", bytes=number)
            await self._work.put(self._erasure, [item])
        left = await self._work.items(self._erasure, VECTORS)
        if left:
            await self._stores.memory.erase()
            # The number stands where others have a size.
            count = ErasedCount(removed=left[0].bytes or 0)
            await self._work.forget_item(self._erasure, left[0], count)
        yield

    async def files(self) -> Steps:
        """Remove every file, folder by folder, also what a broken-off write left."""
        left = await self._work.items(self._erasure, FILES)
        await self._remove([ListedBlob(item.key, item.bytes or 0, None) for item in left])
        folders = [""]
        while folders:
            inner, blobs = await self._stores.blobs.within(folders.pop())
            folders += reversed(inner)
            for n in range(0, len(blobs), FILES_AT_ONCE):
                await self._remove(blobs[n : n + FILES_AT_ONCE])
                yield
            yield
        await self._stores.blobs.erase_folders()

    async def _remove(self, blobs: list[ListedBlob]) -> None:
        """Note what is there, remove it, count it."""
        items = [ErasureItem(kind=FILES, key=blob.key, bytes=blob.size) for blob in blobs]
        await self._work.put(self._erasure, items)
        await self._stores.blobs.erase(blobs)
        await self._work.settle(self._erasure, items, keep=False)

    async def settled(self, from_us: int, now_us: int, settle_us: int) -> None:
        """Returns when cameras and jobs, which were ended, cannot write any more. Raises Wait."""
        if now_us < from_us + settle_us:
            raise Wait(WaitReason.SETTLING)
