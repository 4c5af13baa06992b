"""The quotas of one tenant, as routes have them from their scope."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from cluster.clips.anonymous import AnonymousClips
from cluster.clips.clips import ClipMaker
from cluster.core.rates import Use
from serve.api.quotas.limits import Limits, Quota
from serve.api.quotas.quotas import Quotas, Window
from serve.api.quotas.slots import TenantSlots


@dataclass(frozen=True, slots=True)
class TenantQuotas:
    """What a tenant may use, and what it and the caller's key do use."""

    quotas: Quotas
    tenant: str
    actor: str

    async def limits(self) -> Limits:
        """All limits of the tenant."""
        return await self.quotas.limits(self.tenant)

    async def limit(self, quota: Quota) -> int:
        """One limit of the tenant."""
        return (await self.limits())[quota]

    def slot(
        self, slots: TenantSlots, quota: Quota, limits: Limits
    ) -> AbstractContextManager[None]:
        """As `Quotas.taken`."""
        return self.quotas.taken(slots, quota, self.tenant, limits)

    async def rates(self, limits: Limits) -> list[tuple[Window, Use]]:
        """As `Quotas.rates`."""
        return await self.quotas.rates(self.tenant, self.actor, limits)

    def held(self, slots: TenantSlots) -> int:
        """How many of the slots the tenant has."""
        return slots.of(self.tenant)

    def clips_in_the_making(self, clips: ClipMaker | AnonymousClips) -> int:
        """As `ClipMaker.in_the_making`."""
        return clips.in_the_making(self.tenant)

    def under_way(self) -> int:
        """As `Quotas.under_way`."""
        return self.quotas.under_way(self.tenant)
