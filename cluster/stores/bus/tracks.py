"""What tracks did, on its way to the records: objects, paths and the times of analysis, one stream
per tenant.

Unlike alarms they may be lost under pressure, and every loss is counted: what waits is bounded in
the publishing process, and in the stream, and neither ever holds up an alarm.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from redis.asyncio import Redis

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.stores.bus.connection import open_redis, redis_errors
from cluster.stores.bus.keys import tracks_key
from cluster.stores.bus.stream import TRIM, UnreadableEntryError
from pipelines.domain import AnalysedCell, Sighting, TrackPath
from pipelines.errors import InputError, UnavailableError

TrackUpdate = TrackPath | Sighting | AnalysedCell

# A path of 5 s at 5 frames per second takes some 800 bytes of Redis' memory, so one tenant whose
# listener is away takes 16 MB; with 100 cameras and ten objects in each that is 100 s.
STREAM_CAPACITY = 20_000
# All paths of a cell of time end at once: 400 cameras of one host with ten objects each.
QUEUE_CAPACITY = 4_096
BATCH = 256
FLUSH_EVERY_S = 0.25
PUBLISH_TIMEOUT_S = 2.0
RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0
CLOSE_DEADLINE_S = 2.0

_FIELDS: dict[bytes, type[TrackUpdate]] = {
    b"path": TrackPath,
    b"object": Sighting,
    b"analysed": AnalysedCell,
}
_LOG = get_logger("bus.tracks")

# Takes as many as there is room for and returns how many; a full stream refuses the rest. ARGV: the
# capacity; then field and value of each entry.
_PUBLISH = """
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local taken = 0
for i = 2, #ARGV, 2 do
  if taken >= room then break end
  redis.call('XADD', KEYS[1], '*', ARGV[i], ARGV[i + 1])
  taken = taken + 1
end
return taken
"""


def encode_update(update: TrackUpdate) -> tuple[bytes, bytes]:
    """Field and value of an entry."""
    field = next(field for field, kind in _FIELDS.items() if isinstance(update, kind))
    return field, update.model_dump_json().encode()


def decode_update(tenant: str, fields: Mapping[bytes, bytes]) -> TrackUpdate:
    """An entry's update. Raises UnreadableEntryError, whose message is the reason."""
    for field, kind in _FIELDS.items():
        payload = fields.get(field)
        if payload is None:
            continue
        try:
            update: TrackUpdate = kind.model_validate_json(payload)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "all of it"
            what = field.decode()
            raise UnreadableEntryError(f"no such {what}: {place}: {first['msg']}.") from None
        if update.tenant != tenant:
            raise UnreadableEntryError(f"it belongs to tenant {update.tenant}.")
        return update
    raise UnreadableEntryError("the entry has neither a path nor an object, nor analysed times.")


class TrackStream:
    """The track updates of one tenant in Redis.

    Args:
        redis: from `open_redis`; stays the caller's to close.
        tenant: whose.
        capacity: entries at which the stream counts as full.

    Raises:
        InputError: `tenant` is no slug.
    """

    def __init__(self, redis: Redis, tenant: str, *, capacity: int = STREAM_CAPACITY) -> None:
        self.tenant = tenant
        self.key = tracks_key(tenant)
        self._capacity = capacity
        self._publish = redis.register_script(_PUBLISH)
        self._trim = redis.register_script(TRIM)

    async def publish(self, updates: Sequence[TrackUpdate]) -> int:
        """Append updates as far as there is room; returns how many.

        Raises:
            InputError: some belong to another tenant.
            UnavailableError: Redis is away. Some may be in the stream all the same; to publish them
                again changes nothing.
        """
        if any(item.tenant != self.tenant for item in updates):
            raise InputError("an object or path belongs to another tenant.")
        if not updates:
            return 0
        args: list[bytes | int] = [self._capacity]
        for item in updates:
            args += encode_update(item)
        with redis_errors():
            return int(await self._publish(keys=[self.key], args=args))

    async def trim(self, group: str) -> None:
        """Drop what `group` has recorded; no other group reads this stream."""
        with redis_errors():
            await self._trim(keys=[self.key], args=[group, 0])


@dataclass(slots=True)
class TrackCounts:
    """Counts since the start.

    Attributes:
        published: taken by Redis.
        dropped: lost, because too much waited in this process, or the process ended.
        refused: lost, because the tenant's stream was full.
        pending: in this process now, what is on its way to Redis included.
    """

    published: int = 0
    dropped: int = 0
    refused: int = 0
    pending: int = 0


class TrackPublisher:
    """One per process. `offer` never waits and may be called from any thread; the rest belongs to
    one event loop.

    Args:
        redis_url: from the settings.
        capacity: how much may wait here; beyond it the oldest is dropped.
        stream_capacity: see `TrackStream`.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        capacity: int = QUEUE_CAPACITY,
        stream_capacity: int = STREAM_CAPACITY,
    ) -> None:
        self._redis = open_redis(redis_url, timeout_s=PUBLISH_TIMEOUT_S)
        self._capacity = capacity
        self._stream_capacity = stream_capacity
        self._waiting: deque[TrackUpdate] = deque()
        self._in_flight = 0
        self._lock = threading.Lock()
        self._counts = TrackCounts()
        self._streams: dict[str, TrackStream] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to send. Call it on the loop that will also close."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._keep_sending(), name="track updates")

    def offer(self, updates: Iterable[TrackUpdate]) -> None:
        """Queue updates. Where too many wait already, the oldest are dropped."""
        with self._lock:
            for item in updates:
                if len(self._waiting) >= self._capacity:
                    self._waiting.popleft()
                    self._counts.dropped += 1
                self._waiting.append(item)

    @property
    def stats(self) -> TrackCounts:
        counts = self._counts
        pending = len(self._waiting) + self._in_flight
        return TrackCounts(counts.published, counts.dropped, counts.refused, pending)

    async def aclose(self) -> None:
        """Send what waits, within CLOSE_DEADLINE_S; the rest is dropped. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                while self._waiting:
                    await self._send_some()
        except (TimeoutError, UnavailableError) as error:
            _LOG.warning("track updates is dropped", reason=str(error) or "time-out")
        with self._lock:
            self._counts.dropped += len(self._waiting)
            self._waiting.clear()
        await self._redis.aclose()

    async def _keep_sending(self) -> None:
        backoff = Backoff(RETRY_INITIAL_S, RETRY_MAX_S)
        away = False
        while True:
            try:
                while self._waiting:
                    await self._send_some()
            except UnavailableError as error:
                if not away:
                    _LOG.warning("track updates waits", reason=str(error))
                away = True
                await asyncio.sleep(backoff.next_delay_s())
                continue
            except Exception:  # noqa: BLE001 - task top: a bug must not end the sending silently
                _LOG.exception("track updates cannot be sent")
                await asyncio.sleep(RETRY_MAX_S)
                continue
            away = False
            backoff.reset()
            await asyncio.sleep(FLUSH_EVERY_S)

    async def _send_some(self) -> None:
        """Send the oldest that wait. Where that fails they wait on, unless newer ones have taken
        their place meanwhile."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._in_flight = len(batch)
        by_tenant: dict[str, list[TrackUpdate]] = {}
        for item in batch:
            by_tenant.setdefault(item.tenant, []).append(item)
        try:
            for tenant in list(by_tenant):
                taken = await self._stream(tenant).publish(by_tenant[tenant])
                self._counts.published += taken
                self._counts.refused += len(by_tenant.pop(tenant)) - taken
        finally:
            self._put_back([item for items in by_tenant.values() for item in items])

    def _put_back(self, batch: list[TrackUpdate]) -> None:
        with self._lock:
            self._in_flight = 0
            room = max(0, self._capacity - len(self._waiting))
            kept = batch[max(0, len(batch) - room) :] if room else []
            self._counts.dropped += len(batch) - len(kept)
            self._waiting.extendleft(reversed(kept))

    def _stream(self, tenant: str) -> TrackStream:
        if tenant not in self._streams:
            self._streams[tenant] = TrackStream(self._redis, tenant, capacity=self._stream_capacity)
        return self._streams[tenant]
