"""The Memory deployment, as processes that remove things from it call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.core.names import MEMORY
from cluster.core.work_orders import Purpose, WorkOrders
from pipelines.domain import WorkOwner

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle


class RemoteMemory:
    """The Memory deployment, which alone may open the embedded engine's folder. Usable from one
    event loop.

    Args:
        orders: sign whose work each call is.
        timeout_s: of one call; the memory may be busy with searches.
    """

    def __init__(self, orders: WorkOrders, timeout_s: float) -> None:
        self._orders = orders
        self._timeout_s = timeout_s
        self._handle: DeploymentHandle[Any] | None = None

    async def call(self, method: str, tenant: str, *args: object) -> Any:
        """Call one of the methods that remove things of a tenant. Raises UnavailableError."""
        # Here, because they import Ray Serve (1 s): most rounds have nothing to remove.
        import ray

        from cluster.core.handles import deployment
        from cluster.core.remote import ray_errors, unavailable

        if not ray.is_initialized():
            raise unavailable("memory")  # to look for it would start a cluster
        order = self._orders.issue(WorkOwner(tenant), Purpose.FORGET)
        async with ray_errors("memory", self._timeout_s):
            if self._handle is None:  # the application may start after this process
                self._handle = deployment(MEMORY)
            return await getattr(self._handle, method).remote(order, *args)
