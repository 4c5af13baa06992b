"""The quotas of every tenant and key: what a request costs, and whether there is room for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.core.rates import Charge, Rate, Taken, Use
from cluster.stores.bus.keys import rate_key
from cluster.stores.db import Principal
from serve.api.metrics import Metrics
from serve.api.problems import QuotaExceededError
from serve.api.quotas.headers import limit_field, policy_field
from serve.api.quotas.limiter import RateLimiter
from serve.api.quotas.limits import RATES, WINDOW_S, Limits, Quota, TenantLimits
from serve.api.quotas.slots import TenantSlots

PER_KEY = "per-key"

_HINTS = {
    Quota.REQUESTS: "Send fewer requests: follow /v1/alarms/stream in place of asking again.",
    Quota.DETECT: "Send fewer pictures; a job (POST /v1/jobs) analyses whole recordings.",
    Quota.SEARCH: "Search less often, or narrow the search and ask for more matches at once.",
    Quota.UPLOAD_BYTES: "Scale pictures down before you send them.",
}


@dataclass(frozen=True, slots=True)
class Window:
    """One rate of one tenant or key.

    Attributes:
        name: as clients see it: the quota's, with `-per-key` appended for a key's window.
    """

    name: str
    quota: Quota
    charge: Charge


@dataclass(frozen=True, slots=True)
class Admission:
    """What a request costs, and what is left.

    Attributes:
        error: None where it is let through.
        fields: for the head of the answer.
    """

    error: QuotaExceededError | None
    fields: dict[str, str]


class Quotas:
    """Counts what tenants and keys use. For one event loop.

    Args:
        limits: of every tenant.
        key_share: what one key may use of each rate of its tenant, and of its requests at once.
        limiter: of the rates.
    """

    def __init__(
        self, limits: TenantLimits, key_share: float, limiter: RateLimiter, metrics: Metrics
    ) -> None:
        self.of_tenants = limits
        self._limiter = limiter
        self._metrics = metrics
        self._key_share = key_share
        self._running = TenantSlots()
        self._running_of_keys = TenantSlots()

    async def limits(self, tenant: str | None) -> Limits:
        """Of a tenant; None: of the platform, which has the same rates."""
        return await self.of_tenants.of(tenant)

    async def admit(
        self, principal: Principal, costs: dict[Quota, int], limits: Limits
    ) -> Admission:
        """Charge a request with what it costs of each rate: all of it, or none where it is refused.
        Never raises.

        Args:
            limits: of the tenant.
        """
        windows = self._windows(principal.tenant, principal.actor, costs, limits)
        taken = await self._take(windows)
        names, charges = [w.name for w in windows], [w.charge for w in windows]
        fields = {
            "RateLimit-Policy": policy_field(names, charges),
            "RateLimit": limit_field(names, charges, taken.uses),
        }
        return Admission(self._refusal(windows, taken), fields)

    async def rates(self, tenant: str, actor: str, limits: Limits) -> list[tuple[Window, Use]]:
        """The use of each rate, of the tenant and of the key; costs nothing."""
        windows = self._windows(tenant, actor, dict.fromkeys(RATES, 0), limits)
        taken = await self._take(windows)
        return list(zip(windows, taken.uses, strict=True))

    @contextmanager
    def running(self, principal: Principal, limits: Limits) -> Iterator[None]:
        """One of the requests that a tenant, and of these a key, may have at once, from here on.

        Raises:
            QuotaExceededError: there are as many.
        """
        quota, own = Quota.CONCURRENT_REQUESTS, f"{principal.tenant or ''}:{principal.actor}"
        share = self._share(limits[quota])
        if self._running_of_keys.of(own) >= share:
            self._metrics.quota_refusals.labels(quota).inc()
            raise at_once_error(quota, share, whose="Your key")
        with (
            self._running_of_keys.taken(own),
            self.taken(self._running, quota, principal.tenant, limits),
        ):
            yield

    def under_way(self, tenant: str | None) -> int:
        """Requests of a tenant in this replica, event streams among them."""
        return self._running.of(tenant or "")

    @contextmanager
    def taken(
        self, slots: TenantSlots, quota: Quota, tenant: str | None, limits: Limits
    ) -> Iterator[None]:
        """A slot of a tenant for the length of the block.

        Raises:
            QuotaExceededError: the tenant has as many as it may.
            TooManyRequestsError: there are as many of all tenants together as there may be.
        """
        name = tenant or ""
        if slots.of(name) >= limits[quota]:
            self._metrics.quota_refusals.labels(quota).inc()
            raise at_once_error(quota, limits[quota])
        with slots.taken(name):
            yield

    async def _take(self, windows: Sequence[Window]) -> Taken:
        return await self._limiter.take([window.charge for window in windows])

    def _windows(
        self, tenant: str | None, actor: str, costs: dict[Quota, int], limits: Limits
    ) -> list[Window]:
        found = []
        for quota, cost in costs.items():
            whole, share = limits[quota], self._share(limits[quota])
            for name, of, amount in (
                (str(quota), quota, whole),
                (f"{quota}-{PER_KEY}", f"{quota}:{actor}", share),
            ):
                charge = Charge(rate_key(tenant, of), Rate(amount, WINDOW_S), cost)
                found.append(Window(name, quota, charge))
        return found

    def _share(self, limit: int) -> int:
        """What one key may use of a limit of its tenant."""
        return max(1, math.ceil(limit * self._key_share))

    def _refusal(self, windows: Sequence[Window], taken: Taken) -> QuotaExceededError | None:
        """Names the window that one waits for longest."""
        if taken.allowed:
            return None
        window, use = max(zip(windows, taken.uses, strict=True), key=lambda pair: pair[1].wait_s)
        self._metrics.quota_refusals.labels(window.quota).inc()
        return rate_error(window, use)


def rate_error(window: Window, use: Use) -> QuotaExceededError:
    """The refusal of a request for which a rate has no room."""
    amount, window_s = window.charge.rate.amount, window.charge.rate.window_s
    whose = "Your key" if window.name.endswith(PER_KEY) else "Your tenant"
    hint = _HINTS[window.quota]
    if math.isinf(use.wait_s):
        hint = "This one request is more than that; send less at once."
    return QuotaExceededError(
        f"{whose} may use {amount:,} of the quota '{window.quota}' in {window_s:g} s.",
        hint=hint,
        quota=window.name,
        retry_after_s=max(1, math.ceil(use.wait_s if math.isfinite(use.wait_s) else window_s)),
    )


def at_once_error(quota: Quota, limit: int, *, whose: str = "Your tenant") -> QuotaExceededError:
    """The refusal where a tenant or key has as many under way as it may."""
    return QuotaExceededError(
        f"{whose} already has {limit} of '{quota}' under way.",
        hint="Wait until one of them has ended, or end one.",
        quota=quota,
        retry_after_s=10,
    )
