"""Rates through all replicas: counted in Redis, and in this replica as well.

What this replica lets through is counted here first, whether or not Redis is there. So its own part
is never more than the rate, while Redis is away and when it comes and goes, too; and a flood that
this replica knows of does not reach Redis.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from cluster.core.log import get_logger
from cluster.core.rates import Charge, MemoryRates, Taken
from cluster.stores.bus.rates import SharedRates
from pipelines.clock import Clock
from pipelines.errors import UnavailableError
from serve.api.metrics import Metrics

# The script takes 0.2 ms on loopback. Where Redis hangs, what comes within the
# time-out waits for it; for `RETRY_S` after that nothing asks.
TIMEOUT_S = 0.5
RETRY_S = 2.0

log = get_logger("api.quotas")


class RateLimiter:
    """Takes charges, of all replicas while Redis is there. Never raises, and never lets everything
    through."""

    def __init__(
        self, redis: Redis, clock: Clock, metrics: Metrics, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._shared = SharedRates(redis, clock, timeout_s=timeout_s)
        self._local = MemoryRates()
        self._clock = clock
        self._metrics = metrics
        self._away_until_s = 0.0
        self._away = False

    async def take(self, charges: Sequence[Charge]) -> Taken:
        """Take all charges of one tenant, or none."""
        now_s = self._clock.monotonic()
        local = self._local.take(charges, now_s)
        if not local.allowed or now_s < self._away_until_s:
            return local
        try:
            shared = await self._shared.take(charges)
        except UnavailableError as error:
            self._note_away(error)
            return local
        self._note_back()
        if not shared.allowed:
            self._local.give_back(charges, now_s)
        return shared

    def _note_away(self, error: UnavailableError) -> None:
        self._away_until_s = self._clock.monotonic() + RETRY_S
        self._metrics.rate_fallbacks.inc()
        if not self._away:
            self._away = True
            log.warning("rates are counted by this replica alone", reason=error.message)

    def _note_back(self) -> None:
        if self._away:
            self._away = False
            log.info("rates are counted by all replicas again")
