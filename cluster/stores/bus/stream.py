"""One tenant's stream of alarms in Redis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cluster.core.log import get_logger
from cluster.stores.bus.connection import MAX_BLOCK_MS, redis_errors
from cluster.stores.bus.keys import alarm_marker_key, alarms_key, settled_key
from pipelines.domain import Alarm
from pipelines.errors import AtalaiaError, InputError, UnavailableError

# An alarm with its marker takes some 550 bytes of Redis' memory: 55 MB for one tenant whose
# listener is away. Beyond it, publishers keep alarms in their spools.
STREAM_CAPACITY = 100_000
# How far back a browser can resume without reloading; at one alarm per second almost three hours.
KEEP_FOR_READERS = 10_000
# Within this time the same alarm is published once only. It must outlast the longest that a spool
# may wait for Redis; after it the records still hold each alarm once.
MARKER_LIFE_S = 7 * 86_400

FIELD = b"alarm"
GROUP = "records"
"""The consumer group of the listeners, which write streams to the records."""
RawEntry = tuple[bytes, dict[bytes, bytes]]
"""An entry's id and fields, as a client gives them that does not decode."""

_LOG = get_logger("bus.stream")
_ENTRY_ID = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?", re.ASCII)
_MAX_PART = 2**64 - 1

# The marker makes "once per alarm id" atomic. The stream is never trimmed here: entries that the
# listener has not recorded would be lost, so a full stream refuses instead. ARGV[4]: the epoch
# that the caller expects, or nothing.
_PUBLISH = """
if ARGV[4] ~= '' then
  local epoch = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if epoch ~= ARGV[4] then return 'restarted' end
end
if redis.call('EXISTS', KEYS[2]) == 1 then return 'known' end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then return 'full' end
local id = redis.call('XADD', KEYS[1], '*', 'alarm', ARGV[1])
redis.call('SET', KEYS[2], id, 'EX', ARGV[3])
return id
"""

# For scripts: XINFO of one group of a stream, as a table; nil where there is none.
FIND_GROUP = """
local function find_group(key, name)
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local info = {}
    for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
    if info['name'] == name then return info end
  end
end
"""

# Drops the oldest beyond ARGV[2], but nothing that group ARGV[1] has not acknowledged, nor anything
# behind the mark KEYS[2], if there is one (`settlement`).
TRIM = (
    FIND_GROUP
    + """
local keep = tonumber(ARGV[2])
if redis.call('XLEN', KEYS[1]) <= keep then return 0 end
local group = find_group(KEYS[1], ARGV[1])
if not group or group['pending'] ~= 0 or type(group['lag']) ~= 'number' then return 0 end
local mark = KEYS[2] and redis.call('GET', KEYS[2])
if mark and string.match(mark, '^%S+') ~= group['last-delivered-id'] then return 0 end
return redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', math.max(keep, group['lag']))
"""
)


class StreamFullError(UnavailableError):
    """The stream holds as many unrecorded alarms as it may. Mended by a running listener."""

    code = "stream-full"


class RedisRestartedError(UnavailableError):
    """This is not the run of Redis that the caller expects: what that one took last may be gone."""

    code = "redis-restarted"


class StreamGapError(AtalaiaError):
    """Entries between the reader's place and the oldest kept one are gone from the stream.

    They are in the records. A reader reloads from there, then continues at the stream's tail.
    """

    code: ClassVar[str] = "stream-gap"


class UnreadableEntryError(InputError):
    """An entry of the stream is not an alarm of its tenant."""

    code = "unreadable-entry"


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """An alarm and its place in the stream; `stream_id` is also the id of its server-sent event."""

    stream_id: str
    alarm: Alarm


async def redis_epoch(redis: Redis) -> str:
    """Names the current run of the server: another one after a restart or a fail-over.

    Both may lose what was acknowledged last: an append-only file with `appendfsync everysec` holds
    writes back for up to 2 s while an fsync runs (seen: four of five alarms gone after SIGKILL),
    and replication is asynchronous.

    Raises:
        UnavailableError: Redis is away.
    """
    with redis_errors():
        info = await redis.info("server")
    return str(info["run_id"])


def decode_entry(tenant: str, fields: Mapping[bytes, bytes]) -> Alarm:
    """The alarm in an entry's fields. Raises UnreadableEntryError, whose message is the reason."""
    payload = fields.get(FIELD)
    if payload is None:
        raise UnreadableEntryError("the entry has no field named alarm.")
    try:
        alarm = Alarm.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise UnreadableEntryError(f"not an alarm: {place}: {first['msg']}.") from None
    if alarm.tenant != tenant:
        raise UnreadableEntryError(f"the alarm belongs to tenant {alarm.tenant}.")
    return alarm


class AlarmStream:
    """Publishes and reads the alarms of one tenant.

    Args:
        redis: from `open_redis` (it must not decode responses); stays the caller's to close.
        tenant: whose alarms.
        capacity: entries at which the stream counts as full.

    Raises:
        InputError: `tenant` is no slug.
    """

    def __init__(self, redis: Redis, tenant: str, *, capacity: int = STREAM_CAPACITY) -> None:
        self.tenant = tenant
        self.key = alarms_key(tenant)
        self._mark = settled_key(tenant)
        self._redis = redis
        self._capacity = capacity
        self._publish = redis.register_script(_PUBLISH)
        self._trim = redis.register_script(TRIM)

    async def publish(self, alarm: Alarm, *, epoch: str | None = None) -> str | None:
        """Put an alarm at the end of the stream, once per alarm id.

        Args:
            alarm: of this tenant.
            epoch: publish only if `redis_epoch` is still this.

        Returns:
            The entry's id, or None where this alarm had been published before.

        Raises:
            InputError: the alarm belongs to another tenant.
            UnavailableError: Redis is away; StreamFullError: no listener records alarms;
                RedisRestartedError: its epoch is another one.
        """
        if alarm.tenant != self.tenant:
            raise InputError("the alarm belongs to another tenant.")
        with redis_errors():
            answer = _text(
                await self._publish(
                    keys=[self.key, alarm_marker_key(self.tenant, alarm.id)],
                    args=[alarm.model_dump_json(), self._capacity, MARKER_LIFE_S, epoch or ""],
                )
            )
        if answer == "full":
            raise StreamFullError(
                f"the alarm stream of {self.tenant} is full.", hint="Is a listener running?"
            )
        if answer == "restarted":
            raise RedisRestartedError("Redis was restarted, or another one took over.")
        return None if answer == "known" else answer

    async def read(self, after: str, *, block_ms: int = 0, count: int = 100) -> list[StreamEntry]:
        """The oldest entries behind `after`, in order.

        Args:
            after: an entry's id; "0": from the oldest kept one; "$": only what comes from now on
                (in a loop use `tail_id` once instead, or entries between two calls are missed).
            block_ms: how long to wait where there is none; 0: not at all. At most MAX_BLOCK_MS
                are waited at a time.
            count: how many at most.

        Raises:
            InputError: `after` is no id.
            StreamGapError: entries behind `after` have been trimmed away.
            UnavailableError: Redis is away.
        """
        position = _checked(after)
        block = min(block_ms, MAX_BLOCK_MS) or None
        while True:
            with redis_errors():
                answer: Any = await self._redis.xread(
                    {self.key: position}, count=count, block=block
                )
            raw: list[RawEntry] = answer[0][1] if answer else []
            if raw and position not in ("0", "$"):
                await self._require_no_gap(_text(raw[0][0]))
            entries = self._decoded(raw)
            if entries or not raw:
                return entries
            position = _text(raw[-1][0])

    async def tail_id(self) -> str:
        """The id of the newest entry there ever was: reading after it gives what is new."""
        info = await self._info()
        return _text(info["last-generated-id"]) if info else "0-0"

    async def trim(self, group: str, keep: int = KEEP_FOR_READERS) -> int:
        """Drop the oldest entries beyond `keep`, except where `group` still needs any.

        Returns:
            How many entries went.
        """
        with redis_errors():
            return int(await self._trim(keys=[self.key, self._mark], args=[group, keep]))

    async def _require_no_gap(self, first_read: str) -> None:
        """The entry that was read first follows the reader's place, unless it is the oldest one
        of a stream that has been trimmed: then entries may be missing between them."""
        info = await self._info()
        if not info or not info["first-entry"] or info["entries-added"] == info["length"]:
            return
        if _text(info["first-entry"][0]) == first_read:
            raise StreamGapError(
                "alarms are missing between your place and the oldest one in the stream.",
                hint="Load them from the list of alarms, then follow the stream from its end.",
            )

    async def _info(self) -> dict[str, Any] | None:
        with redis_errors():
            try:
                info: dict[str, Any] = await self._redis.xinfo_stream(self.key)
            except ResponseError as error:
                if "no such key" in str(error):
                    return None
                raise
        return info

    def _decoded(self, raw: list[RawEntry]) -> list[StreamEntry]:
        """The readable ones; the listener moves the others to the dead stream and counts them."""
        entries = []
        for raw_id, fields in raw:
            try:
                entries.append(StreamEntry(_text(raw_id), decode_entry(self.tenant, fields)))
            except UnreadableEntryError as error:
                _LOG.warning(
                    "unreadable entry", stream=self.key, id=_text(raw_id), reason=str(error)
                )
        return entries


def _checked(after: str) -> str:
    if after in ("0", "$"):
        return after
    match = _ENTRY_ID.fullmatch(after)
    if match is None or any(int(part) > _MAX_PART for part in match.groups() if part):
        raise InputError(
            "this is not the id of a stream entry.", hint="Use the id of the last event, or none."
        )
    return after


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
