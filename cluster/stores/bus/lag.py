"""How long alarms are on their way from Redis into the records."""

from __future__ import annotations

from redis.asyncio import Redis

from cluster.stores.bus.connection import redis_errors
from cluster.stores.bus.keys import alarms_key
from cluster.stores.bus.stream import FIND_GROUP, GROUP

# Milliseconds since the oldest entry was added that group ARGV[1] has not acknowledged; 0 where
# there is none. By Redis' own clock, which gave the entries their ids.
_OLDEST = (
    FIND_GROUP
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local oldest, after = nil, '-'
local group = find_group(KEYS[1], ARGV[1])
if group then
  after = '(' .. group['last-delivered-id']
  if group['pending'] > 0 then oldest = redis.call('XPENDING', KEYS[1], ARGV[1])[2] end
end
local next = redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', 1)[1]
oldest = oldest or (next and next[1])
if not oldest then return 0 end
local now = redis.call('TIME')
local age = now[1] * 1000 + math.floor(now[2] / 1000) - string.match(oldest, '^%d+')
return math.max(0, age)
"""
)


class AlarmLag:
    """For callers that must know that no alarm of some moment can still come.

    It does not see the spools of the hosts, in which alarms wait while Redis is away: once it is
    back they need their time (`publisher.RETRY_MAX_S`).
    """

    def __init__(self, redis: Redis) -> None:
        self._oldest = redis.register_script(_OLDEST)

    async def waiting_s(self, tenant: str) -> float:
        """For how long the oldest alarm of the tenant that is not recorded has been in Redis.

        Seconds; 0 where all are recorded, or none was ever raised.

        Raises:
            InputError: `tenant` is no slug; UnavailableError: Redis is away.
        """
        key = alarms_key(tenant)
        with redis_errors():
            age_ms = await self._oldest(keys=[key], args=[GROUP])
        return int(age_ms) / 1e3
