"""The controllers' lease, in Redis: one hash, changed by scripts only.

Time is the server's, so that no clocks have to agree. A token is the time of the grant, and greater
than the one before: tokens go on growing also where Redis has lost the hash.
"""

from __future__ import annotations

import math

from redis.asyncio import Redis

from cluster.controller.lease import Answer, Grant, Refusal
from cluster.stores.bus import redis_errors
from cluster.stores.bus.keys import LEASE_KEY

_NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local held = redis.call('HMGET', KEYS[1], 'owner', 'incarnation', 'token', 'until_ms')
local ours = held[1] == ARGV[1] and held[2] == ARGV[2]
"""
# Owner, incarnation, milliseconds, whether it is a first request; the token, or the owner.
_ASK = (
    _NOW
    + """
local free = not held[1] or tonumber(held[4]) <= now
local token = tonumber(held[3] or 0)
if not ours then
  if not free and not (ARGV[4] == '1' and held[1] == ARGV[1]) then
    return {0, held[1]}
  end
  token = math.max(token + 1, now)
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'incarnation', ARGV[2],
  'token', string.format('%.0f', token), 'until_ms', string.format('%.0f', now + ARGV[3]))
return {1, string.format('%.0f', token)}
"""
)
_RELEASE = (
    _NOW
    + """
if ours then
  redis.call('HSET', KEYS[1], 'until_ms', '0')
end
return 0
"""
)


class RedisLease:
    """Every method raises UnavailableError where Redis is away.

    Args:
        redis: from `open_redis`; stays the caller's to close.
    """

    def __init__(self, redis: Redis) -> None:
        self._ask = redis.register_script(_ASK)
        self._release = redis.register_script(_RELEASE)

    async def ask(self, owner: str, incarnation: str, lease_s: float, *, first: bool) -> Answer:
        """The lease for `lease_s` from now, or whose it is.

        Args:
            first: also take it from another incarnation of the same owner.
        """
        with redis_errors():
            granted, value = await self._ask(
                keys=[LEASE_KEY],
                args=[owner, incarnation, math.ceil(lease_s * 1000), int(first)],
            )
        return Grant(int(value)) if granted else Refusal(value.decode())

    async def release(self, owner: str, incarnation: str) -> None:
        """Let others have it at once, if this incarnation does."""
        with redis_errors():
            await self._release(keys=[LEASE_KEY], args=[owner, incarnation])
