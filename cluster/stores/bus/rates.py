"""Rates in Redis, shared by every replica of the API (`cluster.core.rates` says how they count)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from redis.asyncio import Redis

from cluster.core.rates import SLICES, Charge, Slices, Taken, judge, slice_at
from cluster.stores.bus.connection import redis_errors
from pipelines.clock import Clock

# One step for all windows of a request: between reading and adding nothing else can be counted.
# The order of the keys is that of the arguments: the present slice, the amount, the cost, and the
# life of the key in milliseconds. It answers whether it was taken, then the slices of each window.
_TAKE = """
local slices, answer, fits = tonumber(ARGV[1]), {0}, true
for i, key in ipairs(KEYS) do
  local now, amount, cost = tonumber(ARGV[4*i-2]), tonumber(ARGV[4*i-1]), tonumber(ARGV[4*i])
  local fields, kept, used = redis.call('HGETALL', key), {}, 0
  for f = 1, #fields, 2 do
    local slice, units = tonumber(fields[f]), tonumber(fields[f + 1])
    if slice < now - slices or slice > now + slices then
      redis.call('HDEL', key, fields[f])
    else
      kept[#kept + 1] = slice
      kept[#kept + 1] = units
      used = used + units
    end
  end
  fits = fits and used + cost <= amount
  answer[i + 1] = kept
end
if fits then
  answer[1] = 1
  for i, key in ipairs(KEYS) do
    if tonumber(ARGV[4*i]) > 0 then
      redis.call('HINCRBY', key, ARGV[4*i-2], ARGV[4*i])
      redis.call('PEXPIRE', key, ARGV[4*i+1])
    end
  end
end
return answer
"""


class SharedRates:
    """Windows in Redis, one hash each: slice to units. A window that rests for two of its lengths
    is gone.

    Args:
        redis: from `open_redis`; stays the caller's to close.
        clock: numbers the slices by UTC, so that replicas agree as far as their clocks do.
        timeout_s: of one call; a request waits for no longer than this.
    """

    def __init__(self, redis: Redis, clock: Clock, *, timeout_s: float) -> None:
        self._script = redis.register_script(_TAKE)
        self._clock = clock
        self._timeout_s = timeout_s

    async def take(self, charges: Sequence[Charge]) -> Taken:
        """Take all charges, or none, in one step. Their keys must be in one slot.

        Raises:
            UnavailableError: Redis is away, too slow, or takes no writes.
        """
        now_s = self._clock.now_us() / 1e6
        arguments: list[int] = [SLICES]
        for charge in charges:
            life_ms = math.ceil(charge.rate.window_s * 2_000)
            now = slice_at(now_s, charge.rate)
            arguments += [now, charge.rate.amount, charge.cost, life_ms]
        with redis_errors():
            async with asyncio.timeout(self._timeout_s):
                _, *windows = await self._script(
                    keys=[charge.key for charge in charges], args=arguments
                )
        # The same answer as the script's, and how long to wait besides.
        return judge([_slices(window) for window in windows], charges, now_s)


def _slices(flat: Sequence[int]) -> Slices:
    return dict(zip(flat[::2], flat[1::2], strict=True))
