"""Which cluster a tenant lives in: this one, or a pod that has an address of its own."""

from __future__ import annotations

from cluster.core.settings import Settings
from cluster.stores.db import PlatformRecords
from pipelines.moving import MovePhase, TenantMovingError
from serve.api.problems import TenantElsewhereError


class Homes:
    """Asked for each credential, once its tenant is known, and before somebody signs in."""

    def __init__(self, settings: Settings, records: PlatformRecords) -> None:
        self._settings = settings
        self._records = records

    async def check(self, tenant: str) -> None:
        """Returns where the tenant lives here, or nobody knows it.

        Raises:
            TenantElsewhereError: it lives in a pod.
            TenantMovingError: it is on its way.
            UnavailableError: the records are away.
        """
        found = await self._records.whereabouts(tenant)
        if found is None:
            self._point_to(self._settings.home_of(tenant))
        elif found.phase is MovePhase.MOVED:
            self._point_to(found.pod)
        if found is not None and found.phase is not None:
            raise TenantMovingError(
                "Your data is being moved to another cluster.",
                hint="Wait; the operator says where you are to be reached afterwards.",
            )

    def _point_to(self, pod: str | None) -> None:
        """Raises TenantElsewhereError: the pod is another than we are."""
        if pod is None or pod == self._settings.pod or pod not in self._settings.pods:
            return
        url = self._settings.pods[pod].url
        raise TenantElsewhereError(
            "You are served by a cluster of your own.", hint=f"Go to {url}.", url=url
        )
