"""The memory as a Ray Serve deployment: the one process that holds the connection to Qdrant.

With the embedded engine it must be one process, because the engine locks its folder. With a server
it is still one: it only passes small requests on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ray import serve

from cluster.core.log import configure_logging
from cluster.core.settings import Settings
from cluster.core.work_orders import Purpose, WorkOrder, WorkOrders
from cluster.inference.embedder import EmbedderInfo
from cluster.stores.vectors.connection import VectorConnection
from cluster.stores.vectors.tenant import Match, collection_name
from pipelines.clock import SystemClock
from pipelines.domain import EVERY_SIGHTING, Frozen, Sighting, SightingFilter, WorkOwner
from pipelines.erasure import Target
from pipelines.retention import Window

Vector = npt.NDArray[np.float32]


class MemoryInfo(Frozen):
    """Where sightings are kept."""

    collection: str
    dim: int


@serve.deployment(
    max_ongoing_requests=200,
    max_queued_requests=500,
    health_check_period_s=10,
    graceful_shutdown_timeout_s=5,
)
class Memory:
    """Sightings and their vectors, always of one tenant at a time: that of the work order which
    comes with each call. Each raises WorkRefusedError where that order does not prove it.

    Args:
        settings: the whole tree, parsed where it is deployed.
        embedder: whose vectors are kept here; each embedder has a collection of its own.
    """

    def __init__(self, settings: Settings, embedder: EmbedderInfo) -> None:
        configure_logging(settings.log)
        self._orders = WorkOrders.of(settings, SystemClock())
        self._info = MemoryInfo(
            collection=collection_name(embedder.name, embedder.dim), dim=embedder.dim
        )
        self._connection = VectorConnection(settings, self._info.collection, embedder.dim)

    async def upsert(self, order: WorkOrder, sighting: Sighting, vector: Vector) -> None:
        """Remember; the same track of the same camera again replaces what was there.

        Raises:
            InputError: the vector is another embedder's.
            UnavailableError: Qdrant is away.
            WorkRefusedError: also where the sighting is of another camera.
        """
        owner = WorkOwner(sighting.tenant, sighting.camera)
        tenant = self._orders.check(order, Purpose.REMEMBER, of=owner).tenant
        await self._connection.call(tenant, lambda of: of.upsert([(sighting, vector)]))

    async def search(
        self,
        order: WorkOrder,
        vector: Vector,
        limit: int = 20,
        only: SightingFilter = EVERY_SIGHTING,
        cameras: frozenset[str] | None = None,
    ) -> list[Match]:
        """The tenant's sightings most like `vector`, best first.

        Args:
            order: of a tenant; it comes from the credential, never from the request.
            vector: float32 (dim,).
            limit: most matches.
            only: among these.
            cameras: and of these cameras; None: of every camera.

        Raises:
            InputError: the limit or the vector cannot be used.
            UnavailableError: Qdrant is away.
        """
        tenant = self._orders.check_tenant(order, Purpose.SEARCH)
        return await self._connection.call(
            tenant, lambda of: of.search(vector, limit, only), cameras
        )

    async def vector(self, order: WorkOrder, camera: str, track: str) -> Vector:
        """The vector of a remembered object. Raises NotFoundError, UnavailableError."""
        tenant = self._orders.check_tenant(order, Purpose.SEARCH)
        return await self._connection.call(tenant, lambda of: of.vector(camera, track))

    async def erase(self, order: WorkOrder, camera: str | None = None) -> None:
        """Forget all of the tenant, or of one of its cameras. Raises UnavailableError."""
        tenant = self._orders.check_tenant(order, Purpose.FORGET)
        await self._connection.call(tenant, lambda of: of.erase(camera))

    async def remove(self, order: WorkOrder, camera: str, window: Window, limit: int) -> int:
        """As `TenantVectors.remove`: a part of what lies within a window. Raises
        UnavailableError."""
        tenant = self._orders.check_tenant(order, Purpose.FORGET)
        return await self._connection.call(tenant, lambda of: of.remove(camera, window, limit))

    async def count(self, order: WorkOrder) -> int:
        """How many objects are remembered. Raises UnavailableError."""
        tenant = self._orders.check_tenant(order, Purpose.FORGET)
        return await self._connection.call(tenant, lambda of: of.count())

    async def known(self, order: WorkOrder, targets: list[Target]) -> list[Target]:
        """Those of some objects that are remembered. Raises UnavailableError."""
        tenant = self._orders.check_tenant(order, Purpose.FORGET)
        return await self._connection.call(tenant, lambda of: of.known(targets))

    async def forget(self, order: WorkOrder, targets: list[Target]) -> None:
        """Forget some objects. Raises UnavailableError."""
        tenant = self._orders.check_tenant(order, Purpose.FORGET)
        await self._connection.call(tenant, lambda of: of.forget(targets))

    async def info(self) -> MemoryInfo:
        """Asks Qdrant each time. Raises UnavailableError where it cannot be reached or its
        collection cannot be used, StoreRefusedError where it refuses the key."""
        await self._connection.check()
        return self._info

    async def __del__(self) -> None:
        # Serve awaits this when the replica ends; the embedded engine then gives its folder free.
        await self._connection.aclose()
