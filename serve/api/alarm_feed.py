"""One reader of Redis per tenant, however many clients follow the tenant's alarms.

Each client has a cursor, not a queue: the feed keeps the last entries in a ring and wakes the
clients; a client takes what lies after its cursor from the ring, or from Redis where the ring no
longer reaches back that far. So a slow client costs no memory, and resuming after a reconnect is
the same thing as being slow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.stores.bus import StreamEntry, StreamGapError
from pipelines.domain import Alarm
from pipelines.errors import AtalaiaError, UnavailableError
from serve.api.metrics import Metrics
from serve.api.problems import QuotaExceededError
from serve.api.quotas.limits import Quota

# An entry is some 700 bytes: 180 KB per tenant that is being watched.
RING_SIZE = 256

# One page while catching up.
PAGE = 200

# Redis answers at once when there is something; this only bounds how long a dead connection hides.
BLOCK_MS = 3_000

# How long a stream outlives the key that opened it, at most twice: the key is also cached.
RECHECK_S = 2.0

# Redis is back within a second after a restart; one that stays away is tried at leisure.
BACKOFF_INITIAL_S, BACKOFF_MAX_S = 0.2, 5.0

log = get_logger("api.alarms")

Visible = Callable[[frozenset[str]], Awaitable[frozenset[str]]]
"""Those of some cameras whose alarms a client may see now. Raises UnavailableError."""


class AlarmSource(Protocol):
    """The part of `cluster.stores.bus.AlarmStream` that is used here."""

    async def read(self, after: str, *, block_ms: int = 0, count: int) -> list[StreamEntry]: ...

    async def tail_id(self) -> str: ...


def order(stream_id: str) -> tuple[int, int]:
    """Stream ids compare as two numbers, `<milliseconds>-<sequence>`."""
    milliseconds, _, sequence = stream_id.partition("-")
    return int(milliseconds), int(sequence or 0)


@dataclass(frozen=True, slots=True)
class Gap:
    """Alarms are missing here: they are in the records, but no longer in the stream."""


class TenantFeed:
    """Follows one tenant's stream while somebody listens.

    Invariant: the ring holds every entry with `floor < id <= position`, in order.
    """

    def __init__(self, source: AlarmSource, metrics: Metrics) -> None:
        self._source = source
        self._metrics = metrics
        self._ring: deque[StreamEntry] = deque()
        self._floor = (0, 0)
        self._position = "0-0"
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closed = False
        self.listeners = 0

    @property
    def position(self) -> str:
        """Id of the last entry that the feed has seen."""
        return self._position

    async def start(self) -> None:
        """Begin at the stream's present end. Raises UnavailableError while Redis is away."""
        self._position = await self._source.tail_id()
        self._floor = order(self._position)
        self._task = asyncio.create_task(self._follow(), name="alarm-feed")

    async def aclose(self) -> None:
        self.closed = True
        self._news.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def from_stream(self, cursor: str) -> tuple[list[StreamEntry], str]:
        """The next entries behind `cursor` as they are in Redis now, and the place up to which
        there are no others: what was erased from the stream is still in the ring.

        Raises:
            StreamGapError: entries behind `cursor` are gone from the stream.
            UnavailableError: Redis is away.
        """
        # Before reading: what comes meanwhile is in the ring.
        seen = self._position
        found = await self._source.read(cursor, count=PAGE)
        if found:
            return found, found[-1].stream_id
        return [], max(cursor, seen, key=order)

    def find(self, alarm: UUID) -> Alarm | None:
        """An alarm among the last ones, whether or not it has reached the records."""
        return next((e.alarm for e in reversed(self._ring) if e.alarm.id == alarm), None)

    async def after(self, cursor: str, wait_s: float) -> list[StreamEntry]:
        """The next entries behind `cursor`, in order; waits up to `wait_s` where there is none.

        Raises:
            StreamGapError: entries behind `cursor` are gone from the stream.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        backoff = Backoff(BACKOFF_INITIAL_S, BACKOFF_MAX_S)
        while True:
            news = self._news
            at = order(cursor)
            if at >= self._floor:
                found = [entry for entry in self._ring if order(entry.stream_id) > at]
            else:
                try:
                    found = await self._source.read(cursor, count=PAGE)
                except UnavailableError:
                    # `_follow` logs the same trouble once for all.
                    await asyncio.sleep(backoff.next_delay_s())
                    continue
                if not found:
                    # What lay between was trimmed from the stream.
                    cursor = "-".join(map(str, self._floor))
                    continue
            if found or self.closed:
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await news.wait()
            except TimeoutError:
                return []

    async def _follow(self) -> None:
        backoff = Backoff(BACKOFF_INITIAL_S, BACKOFF_MAX_S)
        while True:
            try:
                await self._read_on()
            except AtalaiaError as error:
                log.warning("alarm stream not readable", error=str(error))
            except Exception:  # the top of this task: clients would wait for ever if it died
                log.exception("alarm stream not readable")
            else:
                backoff.reset()
                continue
            self._metrics.stream_errors.inc()
            await asyncio.sleep(backoff.next_delay_s())

    async def _read_on(self) -> None:
        """Put what comes next into the ring. Raises UnavailableError."""
        try:
            entries = await self._source.read(self._position, block_ms=BLOCK_MS, count=PAGE)
        except StreamGapError:
            await self._jump()
        else:
            self._take(entries)

    async def _jump(self) -> None:
        """The stream was trimmed beyond the feed's place: leave it to each client to notice."""
        self._position = await self._source.tail_id()
        self._ring.clear()
        self._floor = order(self._position)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _take(self, entries: list[StreamEntry]) -> None:
        if not entries:
            return
        self._ring.extend(entries)
        self._position = entries[-1].stream_id
        while len(self._ring) > RING_SIZE:
            self._floor = order(self._ring.popleft().stream_id)
        self._wake()


class Subscription:
    """One client's place in its tenant's stream.

    Args:
        resumed: whether the client was here before: it is given what is in Redis, until it has
            come up with the others.
    """

    def __init__(self, feed: TenantFeed, cursor: str, *, resumed: bool = True) -> None:
        self._feed = feed
        self._behind = resumed
        self.cursor = cursor
        """Up to here all that there is was given out; a client resumes after it."""

    async def entries(
        self, still_good: Callable[[], Awaitable[bool]], visible: Visible
    ) -> AsyncGenerator[StreamEntry | Gap]:
        """Every entry after the cursor that `visible` permits, once each, in order.

        Ends when the application stops, and when `still_good`, called every `RECHECK_S`, is false.
        After a Gap it continues with the oldest entry that the stream still has: what was trimmed
        before that one had been recorded, so list and stream together hold everything.
        """
        while not self._feed.closed and await still_good():
            try:
                found = await self._next()
            except UnavailableError:
                await asyncio.sleep(RECHECK_S)
                continue
            except StreamGapError:
                self.cursor = "0"
                yield Gap()
                continue
            cameras = frozenset(entry.alarm.camera for entry in found)
            for entry in found:
                try:
                    # For each: a slow client takes minutes for what was found.
                    seen = entry.alarm.camera in await visible(cameras)
                except UnavailableError:
                    await asyncio.sleep(RECHECK_S)
                    break  # what is left is found again, when it is known who may see it
                self.cursor = entry.stream_id
                if seen:
                    yield entry

    async def _next(self) -> list[StreamEntry]:
        if not self._behind:
            return await self._feed.after(self.cursor, RECHECK_S)
        found, at = await self._feed.from_stream(self.cursor)
        if not found:
            self._behind, self.cursor = False, at
        return found


class AlarmFeeds:
    """The feeds of all tenants that somebody follows; owned by the application."""

    def __init__(
        self,
        source: Callable[[str], AlarmSource],
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._metrics = metrics
        self._feeds: dict[str, TenantFeed] = {}
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def subscribe(
        self, tenant: str, after: str | None, *, at_most: int
    ) -> AsyncIterator[Subscription]:
        """A place in the tenant's stream: right after `after`, or at its end.

        Args:
            at_most: streams of the tenant, each of which holds a connection and a task (some
                60 KB).

        Raises:
            QuotaExceededError: the tenant has as many streams open.
            UnavailableError: Redis is away.
        """
        async with self._lock:
            feed = self._feeds.get(tenant)
            if feed is None:
                feed = TenantFeed(self._source(tenant), self._metrics)
                await feed.start()
                self._feeds[tenant] = feed
            if feed.listeners >= at_most:
                self._metrics.quota_refusals.labels(Quota.EVENT_STREAMS).inc()
                raise QuotaExceededError(
                    f"Your tenant already has {at_most} alarm streams open.",
                    hint="Close one, or let one reader share what it gets.",
                    quota=Quota.EVENT_STREAMS,
                    retry_after_s=10,
                )
            feed.listeners += 1
        self._metrics.streams.inc()
        try:
            if after is None:
                yield Subscription(feed, feed.position, resumed=False)
            else:
                yield Subscription(feed, after)
        finally:
            self._metrics.streams.dec()
            feed.listeners -= 1
            if feed.listeners == 0 and self._feeds.get(tenant) is feed:
                del self._feeds[tenant]
                await feed.aclose()

    def listeners(self, tenant: str) -> int:
        """Streams of a tenant that are open."""
        feed = self._feeds.get(tenant)
        return feed.listeners if feed else 0

    def recent(self, tenant: str, alarm: UUID) -> Alarm | None:
        feed = self._feeds.get(tenant)
        return feed.find(alarm) if feed else None

    async def aclose(self) -> None:
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            await feed.aclose()
