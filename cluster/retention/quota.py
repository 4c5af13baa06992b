"""Keeps one tenant's files within its quota of the storage, and says how much it uses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from cluster.core.log import get_logger
from cluster.retention.relief import Party, Relief
from cluster.retention.sweep import Steps
from cluster.stores.db import RemovalCause, StorageUse
from pipelines.clock import Clock
from pipelines.retention import DAY_US, RetentionKind, SpaceStage, SpaceState

log = get_logger("retention.quota")

# Part of its quota down to which a tenant that is above it is brought, so that it is not above it
# again at once.
LOW = 0.95
# Characters with which names of files begin: ids, times, digests.
_HEX = "0123456789abcdef"
_FLAT, _BY_CAMERA = ("alarms", "clips", "exports"), ("detections", "objects")

K = RetentionKind


@dataclass(slots=True)
class QuotaSweep:
    """One run for one tenant.

    Attributes:
        quota: bytes.
    """

    party: Party
    quota: int
    clock: Clock
    _files: int = field(init=False, default=0)
    _listed_us: int = field(init=False, default=0)

    async def steps(self) -> Steps:
        """Measure what is used, remove what is above the quota, and keep what is used then."""
        if await self._known():
            use = await self._measured()
            if use.total <= self.quota:
                await self._keep(use, SpaceState.OK)
                return
        # Before anything goes: since the last listing, files may have been removed for their age.
        async with aclosing(self._list()) as steps:
            async for _ in steps:
                yield
        use = await self._measured()
        if use.total <= self.quota:
            await self._keep(use, SpaceState.OK)
            return
        log.warning("a tenant is above its quota", tenant=self.party.tenant, used=use.total)
        # Now, because the run may have all its steps before the end.
        await self._keep(use, SpaceState.REMOVING)
        async with aclosing(self._relieve(use.total - int(self.quota * LOW))) as steps:
            async for _ in steps:
                yield
        use = await self._measured()
        above = use.total > self.quota
        await self._keep(use, SpaceState.EXHAUSTED if above else SpaceState.REMOVING)

    async def _relieve(self, need: int) -> Steps:
        relief = Relief([self.party], self.clock, RemovalCause.QUOTA)
        for stage in SpaceStage:
            while (left := need - sum(relief.freed.values())) > 0:
                if not await relief.step(stage, left):
                    break
                yield
        self._files = max(0, self._files - relief.freed[K.CLIPS])

    # ------------------------------------------------------------ what is used

    async def _measured(self) -> StorageUse:
        return StorageUse(
            recordings=await self.party.stores.retention.recorded_bytes(),
            files=self._files,
            listed_us=self._listed_us,
            measured_us=self.clock.now_us(),
        )

    async def _keep(self, use: StorageUse, state: SpaceState) -> None:
        await self.party.stores.retention.set_storage(use.model_copy(update={"state": state}))

    async def _known(self) -> bool:
        """Take what was listed within a day. Returns False if there is nothing."""
        known = await self.party.stores.retention.storage()
        if known is None or self.clock.now_us() >= known.listed_us + DAY_US:
            return False
        self._files, self._listed_us = known.files, known.listed_us
        return True

    async def _list(self) -> Steps:
        """Sum up all files but recordings."""
        self._files, self._listed_us = 0, self.clock.now_us()
        async with aclosing(self._sizes()) as sizes:
            async for size in sizes:
                self._files += size
                yield

    async def _sizes(self) -> AsyncGenerator[int, None]:
        """Bytes of all files but recordings, page by page."""
        blobs = self.party.stores.blobs
        folders = [
            f"{folder}/{camera}" for folder in _BY_CAMERA for camera in await blobs.folders(folder)
        ]
        for folder in (*_FLAT, *folders):
            async with aclosing(blobs.pages(folder, _HEX)) as pages:
                async for page in pages:
                    yield sum(blob.size for blob in page)
