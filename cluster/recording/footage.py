"""Guards the index of recordings against a folder that is empty, not mounted, or lost its files.

Retention removes files first and rows last, and takes a file that is missing for one that it has
removed before. So an empty folder would empty the index, too. See decision 0037.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from cluster.core.log import get_logger
from cluster.stores.blobs.folder import AWAY, StorageFolder
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from pipelines.errors import UnavailableError
from pipelines.footage import BREAKER_FILES, Census

log = get_logger("footage")

SAMPLE = BREAKER_FILES + 1
"""Files at each end of the index that are looked for: enough for the breaker to be possible."""
_PAGE = 1_000
_RECORDINGS = "recordings/"
HINT = (
    "Mount the disk, or restore the files. If they are gone for good, run "
    "`atalaia recordings confirm-loss`."
)


class Index(Protocol):
    """What this needs of `cluster.stores.db.TenantRecordings`."""

    async def outermost(self, limit: int) -> list[str]: ...

    async def blobs(
        self, after: tuple[str, int] | None, limit: int
    ) -> list[tuple[str, int, str]]: ...


class FootageGuard:
    """Belongs to one event loop. Every method may raise UnavailableError: the database is away.

    Args:
        folder: of all tenants' files.
        tenants: those that live here, by slug.
        index: of one tenant's recordings.

    Attributes:
        looked: whether there was a look; before, `away` and `lost` say nothing.
        away: whether the folder is not known to be ours, as of the last look.
        lost: what is gone, of tenants of which most of it is.
    """

    def __init__(
        self,
        folder: StorageFolder,
        tenants: Callable[[], Awaitable[Sequence[str]]],
        index: Callable[[str], Index],
    ) -> None:
        self.looked = self.away = False
        self._folder = folder
        self._tenants = tenants
        self._index = index
        self._lost: dict[str, Census] = {}
        self._counted: set[str] = set()

    @property
    def lost(self) -> Mapping[str, Census]:
        return self._lost

    async def claim(self) -> bool:
        """Whether the folder is ours. It is marked when it is first used: there is no index of it
        yet, or, after an upgrade, some of the files that the index names are in it."""
        ours = await asyncio.to_thread(self._folder.is_marked)
        if not ours:
            ours = await self._is_first_use()
            self._folder.trusted = ours and not await self._mark()
        if self.away != (not ours):
            self.away = not ours
            if ours:
                log.info("the folder of the recordings is there again")
            else:
                log.error("nothing is removed, and recordings wait", reason=AWAY,
                          folder=str(self._folder.path), hint=HINT)  # fmt: skip
        return ours

    async def _mark(self) -> bool:
        """Returns False if that is not possible now: removing must go on where the disk is full."""
        try:
            await asyncio.to_thread(self._folder.mark)
        except UnavailableError as error:
            log.error("the storage is not marked", error=error.message)
            return False
        return True

    async def _is_first_use(self) -> bool:
        known = False
        for tenant in await self._tenants():
            keys = await self._index(tenant).outermost(SAMPLE)
            if keys and await self._missing(tenant, keys) < len(keys):
                return True
            known = known or bool(keys)
        return not known

    async def look(self) -> None:
        """Find out anew what is there: once per run of retention."""
        self._counted.clear()
        ours = await self.claim()
        self.looked = True
        if not ours:
            return
        tenants = await self._tenants()
        self._lost = {tenant: found for tenant, found in self._lost.items() if tenant in tenants}
        for tenant in tenants:
            keys = await self._index(tenant).outermost(SAMPLE)
            sample = Census(len(keys), await self._missing(tenant, keys))
            if tenant in self._lost or sample.may_be_loss:
                await self._count(tenant)

    async def permit(self, tenant: str, key: str) -> None:
        """Called before a file is removed, and then forgotten.

        Raises:
            UnavailableError: nothing of this tenant may be removed now.
        """
        if key.startswith(_RECORDINGS) and tenant not in self._counted:
            if await self._missing(tenant, [key]):
                await self._count(tenant)
        if (lost := self._lost.get(tenant)) is not None:
            raise UnavailableError(in_words(lost), hint=HINT)

    async def census(self, tenant: str) -> Census:
        """Look for every file that the index names; some 10 s for a million."""
        known = missing = 0
        after: tuple[str, int] | None = None
        while page := await self._index(tenant).blobs(after, _PAGE):
            known += len(page)
            missing += await self._missing(tenant, [blob for _, _, blob in page])
            after = page[-1][:2]
        return Census(known, missing)

    async def _count(self, tenant: str) -> None:
        found = await self.census(tenant)
        self._counted.add(tenant)
        if found.is_loss:
            if tenant not in self._lost:
                log.error("footage is gone: the index stays", tenant=tenant, known=found.known,
                          missing=found.missing, hint=HINT)  # fmt: skip
            self._lost[tenant] = found
        elif self._lost.pop(tenant, None) is not None:
            log.info("footage is there again", tenant=tenant, missing=found.missing)

    async def _missing(self, tenant: str, keys: Sequence[str]) -> int:
        return await asyncio.to_thread(self._folder.missing, tenant, keys)


async def guarded_blobs(url: str, tenant: str, database: Database) -> TenantBlobs:
    """The files of a tenant, for a command: where the folder of all of them is not ours, each call
    raises UnavailableError. Raises UnavailableError, too, where the database is away."""
    folder = StorageFolder.of(url)
    if folder is None:
        return TenantBlobs(url, tenant)
    await FootageGuard(folder, database.platform().at_home, database.recordings).claim()
    return TenantBlobs(url, tenant, before=folder.require_marked)


def in_words(lost: Census) -> str:
    return f"{lost.missing} of {lost.known} recorded files are gone, so nothing is removed."
