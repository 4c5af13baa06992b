"""Up to where the alarms of a stream are settled: recorded, put aside, or counted as lost.

Redis knows what a consumer group was given and has not acknowledged, and forgets it with the
consumer or the group. The mark of a stream does not depend on either: it moves over an entry only
once somebody has vouched for it, and nothing behind it is trimmed by us.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from cluster.stores.bus.connection import redis_errors
from cluster.stores.bus.stream import FIND_GROUP, GROUP, RawEntry

_BEFORE = """
local function numbers(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function before(one, other)
  local ms, seq = numbers(one)
  local other_ms, other_seq = numbers(other)
  return ms < other_ms or (ms == other_ms and seq < other_seq)
end
"""

# Creates the group ARGV[1] behind the mark (KEYS[2], if there is one), or at the beginning. A mark
# without its stream means nothing any more, nor does one beyond the stream's end: somebody deleted
# the stream, and the clock of Redis was set back before the next entry. Returns 0 where there was
# one; 1: it is new; 2: it is new, and there was one before.
_ENSURE = (
    _BEFORE
    + """
local function last_of(key)
  local flat = redis.call('XINFO', 'STREAM', key)
  for i = 1, #flat, 2 do
    if flat[i] == 'last-generated-id' then return flat[i + 1] end
  end
end
local id, again = '0', false
local mark = KEYS[2] and redis.call('GET', KEYS[2])
if mark then
  local at = string.match(mark, '^%S+')
  if redis.call('EXISTS', KEYS[1]) == 0 or before(last_of(KEYS[1]), at) then
    redis.call('SET', KEYS[2], '0-0 0')
  else
    id, again = at, true
  end
end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], id, 'MKSTREAM')
if made.err then
  if string.find(made.err, 'BUSYGROUP', 1, true) then return 0 end
  return made
end
return again and 2 or 1
"""
)

# A mark is an entry's id and its number among all that were ever added, or `?`. ARGV: the group,
# how many entries to give, and what the caller vouches for: up to which id, how many entries, and
# the mark behind which it found them.
#
# Where the mark's entry is gone, all before the oldest entry is: what was ever removed, less the
# mark's number, was removed unsettled. That cannot be known while single entries are missing
# between others, nor without a number: `?` is there only from an earlier version, or where two
# listeners met, and only until all is settled once.
_LOOK = (
    _BEFORE
    + FIND_GROUP
    + """
local group = redis.call('EXISTS', KEYS[1]) == 1 and find_group(KEYS[1], ARGV[1])
if not group then return {0, 0, '', '', {}} end
local info, flat = {}, redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
local added, gone = info['entries-added'], info['entries-added'] - info['length']
local first = info['first-entry'] and info['first-entry'][1]
local given, pending = group['last-delivered-id'], group['pending']
local mark = redis.call('GET', KEYS[2])
local at, number
if mark then
  at, number = string.match(mark, '^(%S+) (%S+)$')
  number = tonumber(number)
elseif given == '0-0' then
  at, number = given, gone
elseif pending == 0 then
  at = given
else
  return {0, 0, first or '', '', {}}
end
if ARGV[3] ~= '' and before(at, ARGV[3]) then
  at, number = ARGV[3], ARGV[5] == mark and number and number + tonumber(ARGV[4]) or nil
end
local whole = not first or before(info['max-deleted-entry-id'], first)
local lost, exact = 0, number and whole and 1 or 0
if exact == 1 and (not first or before(at, first)) then
  lost = math.max(0, gone - number)
  number = gone
end
local stop = pending == 0 and given or '(' .. redis.call('XPENDING', KEYS[1], ARGV[1])[2]
local entries = redis.call('XRANGE', KEYS[1], '(' .. at, stop, 'COUNT', ARGV[2])
if #entries == 0 and pending == 0 and before(at, given) then at = given end
if at == info['last-generated-id'] then number = added end
local now = at .. ' ' .. (number or '?')
if now ~= mark then redis.call('SET', KEYS[2], now) end
return {lost, exact, first or '', now, entries}
"""
)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a stream found.

    Attributes:
        lost: entries that were removed before they were settled, and had not been counted.
        exact: whether `lost` can be known; else it is 0.
        first: id of the oldest entry; empty where there is none.
        mark: as it is now; empty where there is none yet.
        entries: the next ones behind the mark that the group was given and holds no more.
    """

    lost: int
    exact: bool
    first: bytes
    mark: bytes
    entries: list[RawEntry]


def order(entry_id: bytes) -> tuple[int, int]:
    """Ids of entries compare as two numbers."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)


class Settlement:
    """The scripts, for all streams.

    Args:
        redis: from `open_redis`; stays the caller's to close.
        batch: how many entries are looked at once.
    """

    def __init__(self, redis: Redis, batch: int) -> None:
        self._ensure = redis.register_script(_ENSURE)
        self._look = redis.register_script(_LOOK)
        self._batch = batch

    async def ensure_group(self, key: str, mark: str | None) -> tuple[bool, bool]:
        """See that a stream has its group; whether it is new, and whether there was one before.

        Raises:
            UnavailableError: Redis is away.
        """
        keys = [key] if mark is None else [key, mark]
        with redis_errors():
            made = int(await cast(Awaitable[Any], self._ensure(keys=keys, args=[GROUP])))
        return made > 0, made == 2

    async def look(self, key: str, mark: str, vouched: Look | None = None) -> Look:
        """Find what is given out and not known to be settled.

        Args:
            vouched: what was found before; the caller has settled its entries.

        Raises:
            UnavailableError: Redis is away.
        """
        args: list[Any] = [GROUP, self._batch, "", 0, ""]
        if vouched is not None and vouched.entries:
            args[2:] = [vouched.entries[-1][0], len(vouched.entries), vouched.mark]
        with redis_errors():
            lost, exact, first, now, raw = await self._look(keys=[key, mark], args=args)
        return Look(int(lost), bool(exact), first, now, [(i, _fields(f)) for i, f in raw])


def _fields(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
