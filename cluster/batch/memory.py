"""Where a job's objects are remembered: through the running application, or by the job itself."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from ray.serve.handle import DeploymentHandle

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

REMEMBER_TIMEOUT_S = 60.0


class ServeMemory:
    """Through the Embedder deployment, which then also owns the embedded Qdrant."""

    def __init__(self) -> None:
        self._embedder: DeploymentHandle[Any] = deployment(EMBEDDER)

    async def remember(self, crop: Crop) -> None:
        async with ray_errors("embedder", REMEMBER_TIMEOUT_S):
            await self._embedder.remember.remote(crop)

    async def aclose(self) -> None:
        """Nothing of it is ours."""


class OwnMemory:
    """An embedder in this process, for where the application does not run.

    Use `OwnMemory.open`, and close it: the embedded Qdrant locks its folder.
    """

    def __init__(self, settings: Settings, tenant: str) -> None:
        self._model = load_embedder(settings.embedder)
        self._client = connect(settings)
        info = self._model.info
        self._collection = collection_name(info.name, info.dim)
        self._vectors = TenantVectors(self._client, self._collection, tenant)
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def open(cls, settings: Settings, tenant: str) -> Self:
        """Raises UnavailableError where Qdrant is away, or its folder in use."""
        if settings.qdrant.url is None:
            settings.qdrant_path.mkdir(parents=True, exist_ok=True)
        memory = cls(settings, tenant)
        try:
            await ensure_collection(memory._client, memory._collection, memory._model.info.dim)
        except BaseException:
            await memory.aclose()
            raise
        return memory

    async def remember(self, crop: Crop) -> None:
        async with self._one_at_a_time:
            vectors = await asyncio.to_thread(self._model.embed_images, [crop.pixels])
            await self._vectors.upsert([(crop.sighting, vectors[0])])

    async def aclose(self) -> None:
        """Give model and folder free."""
        await self._client.close()
        self._model.close()
