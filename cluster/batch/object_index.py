"""The index of seen objects: appearance vectors, written through the application."""

from __future__ import annotations

from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.core.handles import deployment
from cluster.core.names import EMBEDDER
from cluster.core.remote import ray_errors
from cluster.core.settings import Settings
from cluster.core.work_orders import Purpose, WorkOrders
from pipelines.clock import SystemClock
from pipelines.domain import Crop, WorkOwner

# Generous: the embedder may still be loading its model.
INDEX_TIMEOUT_S = 60.0


class RemoteObjectIndex:
    """Writes through the Embedder deployment, which also owns the embedded Qdrant."""

    def __init__(self, settings: Settings) -> None:
        self._orders = WorkOrders.of(settings, SystemClock())
        self._embedder: DeploymentHandle[Any] = deployment(EMBEDDER)

    async def add(self, crop: Crop) -> None:
        """Embed a crop and store its vector. Raises UnavailableError."""
        owner = WorkOwner(crop.sighting.tenant, crop.sighting.camera)
        order = self._orders.issue(owner, Purpose.REMEMBER)
        async with ray_errors("embedder", INDEX_TIMEOUT_S):
            await self._embedder.remember.remote(crop, order)

    async def aclose(self) -> None:
        """Nothing to close. The application owns the embedder."""
