"""The one connection of a process to its collection: opened once for all who wait, asked about its
health, and with the collection made again where that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.stores.vectors.client import TIMEOUT_S, VectorClient, connect, open_collection
from cluster.stores.vectors.collection import check_collection, ensure_collection
from cluster.stores.vectors.errors import CollectionLostError, QdrantTimeoutError
from cluster.stores.vectors.tenant import TenantVectors
from pipelines.errors import UnavailableError

T = TypeVar("T")
log = get_logger("vectors")

# While a new replica takes over, the old one still holds the embedded engine's folder, for at most
# the time that Serve gives it to end.
OPEN_ATTEMPTS, OPEN_PAUSE_S = 40, 0.25


class VectorConnection:
    """Opens at the first call, and again at a call after one that failed. For one event loop.

    While an attempt is under way, calls wait for that one, and share how it ends: behind a server
    that hangs nobody waits for longer than one time-out.

    Args:
        settings: where Qdrant is.
        collection: its name.
        dim: numbers of a vector in it.
        timeout_s: of an attempt to open, with a server.
    """

    def __init__(
        self, settings: Settings, collection: str, dim: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._settings = settings
        self._collection = collection
        self._dim = dim
        self._timeout_s = timeout_s
        self._client: VectorClient | None = None
        self._opening: asyncio.Task[VectorClient] | None = None
        self._ready = False
        self._closed = False

    async def call(
        self,
        tenant: str,
        work: Callable[[TenantVectors], Awaitable[T]],
        cameras: frozenset[str] | None = None,
    ) -> T:
        """Do `work` for a tenant; a second time where the collection was lost, and is made again.

        Raises:
            UnavailableError: Qdrant is away.
            StoreRefusedError: it refuses the key or the request.
            AtalaiaError: what `work` raises.
        """
        client = await self._opened()
        try:
            return await work(self._of(client, tenant, cameras))
        except CollectionLostError:
            self._lost()
        return await work(self._of(await self._opened(), tenant, cameras))

    async def check(self) -> None:
        """Ask Qdrant, now. A lost collection is made again.

        Raises:
            UnavailableError: it is away, or the collection has failed.
            StoreRefusedError: it refuses the key.
        """
        client = await self._opened()
        try:
            await check_collection(client, self._collection)
        except CollectionLostError:
            self._lost()
            await self._opened()

    async def aclose(self) -> None:
        """Idempotent. The embedded engine then gives its folder free."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def _of(
        self, client: VectorClient, tenant: str, cameras: frozenset[str] | None
    ) -> TenantVectors:
        return TenantVectors(client, self._collection, tenant, cameras, self._dim)

    def _lost(self) -> None:
        if self._ready:
            log.warning("the collection was lost; it is made again", collection=self._collection)
        self._ready = False

    async def _opened(self) -> VectorClient:
        """The client, with its collection made."""
        if self._closed:
            raise UnavailableError("the memory is closed.")
        if self._ready and self._client is not None:
            return self._client
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open(), name="open vectors")
            # Those who wait may all have gone before it fails.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    async def _open(self) -> VectorClient:
        if self._client is None:
            self._client = await self._working_client()
        if self._settings.qdrant.url is None:
            await ensure_collection(self._client, self._collection, self._dim)
        else:
            await self._ensure_on_server(self._client)
        self._ready = True
        return self._client

    async def _ensure_on_server(self, client: VectorClient) -> None:
        tokens = self._settings.qdrant.tokens  # with one, no collection can be made
        maker = connect(self._settings) if tokens else client
        try:
            async with asyncio.timeout(self._timeout_s):
                await ensure_collection(maker, self._collection, self._dim)
        except TimeoutError as error:
            raise QdrantTimeoutError("Qdrant did not answer in time.") from error
        finally:
            if maker is not client:
                await maker.close()

    async def _working_client(self) -> VectorClient:
        for attempt in range(OPEN_ATTEMPTS):
            try:
                return open_collection(self._settings, self._collection)
            except UnavailableError as error:
                if attempt == 0:
                    log.info("waiting for the folder of vectors", reason=str(error))
                busy = error
            await asyncio.sleep(OPEN_PAUSE_S)
        raise UnavailableError(busy.message, hint=busy.hint)
