"""The index of seen objects without the application: an embedder and Qdrant in this process.

Only jobs beside no running application need it, and only they import Qdrant's client (1 s).
"""

from __future__ import annotations

import asyncio
from typing import Self

from cluster.core.aio import call_foreign
from cluster.core.settings import Settings
from cluster.inference.embedders import load_embedder
from cluster.stores.vectors.tenant import (
    TenantVectors,
    collection_name,
    connect,
    ensure_collection,
)
from pipelines.domain import Crop


class LocalObjectIndex:
    """An embedder in this process, for when the application is not running.

    Create it with `LocalObjectIndex.open`, and close it: the embedded Qdrant locks its folder.
    """

    def __init__(self, settings: Settings, tenant: str) -> None:
        self._model = load_embedder(settings.embedder)
        self._client = connect(settings)
        info = self._model.info
        self._collection = collection_name(info.name, info.dim)
        self._vectors = TenantVectors(self._client, self._collection, tenant, dim=info.dim)
        self._lock = asyncio.Lock()  # one crop at a time

    @classmethod
    async def open(cls, settings: Settings, tenant: str) -> Self:
        """Load the embedder and open the collection.

        Raises:
            UnavailableError: Qdrant is down, or another process uses its folder.
        """
        if settings.qdrant.url is None:
            settings.qdrant_path.mkdir(parents=True, exist_ok=True)
        index = cls(settings, tenant)
        try:
            await ensure_collection(index._client, index._collection, index._model.info.dim)
        except BaseException:
            await index.aclose()
            raise
        return index

    async def add(self, crop: Crop) -> None:
        """Embed a crop and store its vector. Raises UnavailableError."""
        async with self._lock:
            vectors = await asyncio.to_thread(call_foreign, self._model.embed_images, [crop.pixels])
            await self._vectors.upsert([(crop.sighting, vectors[0])])

    async def aclose(self) -> None:
        """Release the model and the folder."""
        await self._client.close()
        self._model.close()
