"""The index of seen objects: appearance vectors, written through the application or directly."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from ray.serve.handle import DeploymentHandle

from cluster.core.aio import call_foreign
from cluster.core.handles import deployment
from cluster.core.names import EMBEDDER
from cluster.core.remote import ray_errors
from cluster.core.settings import Settings
from cluster.inference.embedders import load_embedder
from cluster.stores.vectors.tenant import (
    TenantVectors,
    collection_name,
    connect,
    ensure_collection,
)
from pipelines.domain import Crop

# Generous: the embedder may still be loading its model.
INDEX_TIMEOUT_S = 60.0


class RemoteObjectIndex:
    """Writes through the Embedder deployment, which also owns the embedded Qdrant."""

    def __init__(self) -> None:
        self._embedder: DeploymentHandle[Any] = deployment(EMBEDDER)

    async def add(self, crop: Crop) -> None:
        """Embed a crop and store its vector. Raises UnavailableError."""
        async with ray_errors("embedder", INDEX_TIMEOUT_S):
            await self._embedder.remember.remote(crop)

    async def aclose(self) -> None:
        """Nothing to close. The application owns the embedder."""


class LocalObjectIndex:
    """An embedder in this process, for when the application is not running.

    Create it with `LocalObjectIndex.open`, and close it: the embedded Qdrant locks its folder.
    """

    def __init__(self, settings: Settings, tenant: str) -> None:
        self._model = load_embedder(settings.embedder)
        self._client = connect(settings)
        info = self._model.info
        self._collection = collection_name(info.name, info.dim)
        self._vectors = TenantVectors(self._client, self._collection, tenant)
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
