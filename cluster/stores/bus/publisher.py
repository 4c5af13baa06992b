"""Raises alarms: to Redis where it answers, else to a spool on disk, from which they follow."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.stores.bus.connection import open_redis
from cluster.stores.bus.spool import MAX_SPOOL_BYTES, AlarmSpool
from cluster.stores.bus.spool_file import SUFFIX, left_spools
from cluster.stores.bus.stream import STREAM_CAPACITY, AlarmStream, redis_epoch
from pipelines.clock import Clock, SystemClock
from pipelines.domain import Alarm
from pipelines.errors import ConfigError, UnavailableError

# A publish takes 0.3 ms on loopback (0.6 ms with `appendfsync always`). When Redis goes away, the
# watcher that raises an alarm waits this long once, and at 5 frames/s skips two or three frames;
# after that the spool answers in half a millisecond.
PUBLISH_TIMEOUT_S = 0.5
RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0
CLOSE_DEADLINE_S = 3.0
# How often to look whether Redis is still the one that took the last alarms, and how long an alarm
# is remembered for the case that it is not. Redis loses some 2 s at most (see `redis_epoch`).
EPOCH_EVERY_S = 1.0
REMEMBER_S = 10.0
REMEMBER_ALARMS = 1_024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)

_LOG = get_logger("bus.publisher")


class PublishOutcome(StrEnum):
    PUBLISHED = "published"
    KNOWN = "known"
    """This alarm had been published before: nothing happened."""
    SPOOLED = "spooled"
    """It waits on this machine's disk and will follow in its order."""


@dataclass(frozen=True, slots=True)
class PublisherStats:
    """Counts since the start.

    Attributes:
        published: straight to Redis.
        known: published before, straight or from the spool.
        spooled: into the spool.
        replayed: from the spool to Redis, those left by an earlier run included.
        restored: taken by Redis, lost by it when it died, and published again.
        refused: lost, because the spool was full.
        damaged: lost, because the spool's file was damaged.
        pending: in the spool now.
    """

    published: int = 0
    known: int = 0
    spooled: int = 0
    replayed: int = 0
    restored: int = 0
    refused: int = 0
    damaged: int = 0
    pending: int = 0


class _State(Enum):
    NEW = auto()
    RUNNING = auto()
    CLOSED = auto()


class AlarmPublisher:
    """One per process. It lives on the event loop that starts it, which never waits for the disk:
    the spool has a thread of its own for that. `publish` may be called from other loops too.

    Alarms of one caller keep their order; while any is in the spool, all go through it. The last
    alarms are remembered, and published again where Redis dies and forgets them.

    Args:
        redis_url: see `open_redis`.
        spool_dir: folder of the spools.
        name: of this publisher, unique among the processes that share the folder and the same
            after a restart, so that it finds what it left.
        timeout_s: how long `publish` waits for Redis before it turns to the spool.
        max_spool_bytes: how much may wait on disk.
        stream_capacity: see `AlarmStream`.
        clock: for how long alarms are remembered.
    """

    def __init__(
        self,
        redis_url: str,
        spool_dir: Path,
        name: str,
        *,
        timeout_s: float = PUBLISH_TIMEOUT_S,
        max_spool_bytes: int = MAX_SPOOL_BYTES,
        stream_capacity: int = STREAM_CAPACITY,
        clock: Clock | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a spool file.")
        self._redis = open_redis(redis_url, timeout_s=timeout_s)
        self._spool = AlarmSpool(spool_dir / f"{name}{SUFFIX}", max_spool_bytes)
        self._timeout_s = timeout_s
        self._stream_capacity = stream_capacity
        self._clock = clock or SystemClock()
        self._state = _State.NEW
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams: dict[str, AlarmStream] = {}
        self._turn = asyncio.Lock()
        self._spooled_more = asyncio.Event()
        self._backoff = Backoff(RETRY_INITIAL_S, RETRY_MAX_S)
        self._drainer: asyncio.Task[None] | None = None
        self._accepting: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._epoch: str | None = None
        self._recent: deque[tuple[float, Alarm]] = deque(maxlen=REMEMBER_ALARMS)
        self._counts = dict.fromkeys(("published", "known", "spooled", "replayed", "restored"), 0)

    async def start(self) -> None:
        """Open the spool and begin to send what waits in it.

        Raises:
            ConfigError: the spool is in use by another publisher, or cannot be written.
        """
        if self._state is not _State.NEW:
            raise RuntimeError("a publisher starts once")
        self._loop = asyncio.get_running_loop()
        try:
            await self._spool.open()
            await self._find_epoch()
        except BaseException:
            await self.aclose()
            raise
        self._state = _State.RUNNING
        self._drainer = asyncio.create_task(self._keep_draining(), name="alarm replay")

    async def publish(self, alarm: Alarm) -> PublishOutcome:
        """Raise an alarm. When this returns it is in Redis or on the disk.

        Takes no longer than the time-out and an fsync, even while Redis is away. A caller that is
        cancelled meanwhile does not stop it.

        Raises:
            SpoolFullError: Redis is away and the spool has no room: the alarm is lost, counted in
                `stats.refused`.
            UnavailableError: the publisher is not running.
        """
        if asyncio.get_running_loop() is self._loop:
            return await self._publish(alarm)
        if self._loop is None or self._state is not _State.RUNNING:
            raise UnavailableError("the alarm publisher is not running.")
        publishing = asyncio.run_coroutine_threadsafe(self._publish(alarm), self._loop)
        return await asyncio.shield(asyncio.wrap_future(publishing))

    @property
    def stats(self) -> PublisherStats:
        """Safe from any thread."""
        return PublisherStats(
            **self._counts,
            refused=self._spool.refused,
            damaged=self._spool.damaged,
            pending=self._spool.pending,
        )

    async def aclose(self) -> None:
        """Send what waits, within CLOSE_DEADLINE_S; the rest stays on disk for the next start.

        Idempotent. A caller that is cancelled meanwhile does not stop it."""
        if self._closing is None:
            self._state = _State.CLOSED
            self._closing = asyncio.create_task(self._close(), name="close the alarm publisher")
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ------------------------------------------------------------ on the publisher's own loop

    async def _publish(self, alarm: Alarm) -> PublishOutcome:
        if self._state is not _State.RUNNING:
            raise UnavailableError("the alarm publisher is not running.")
        accepting = asyncio.create_task(self._accept(alarm))
        self._accepting.add(accepting)
        accepting.add_done_callback(self._accepting.discard)
        return await asyncio.shield(accepting)

    async def _accept(self, alarm: Alarm) -> PublishOutcome:
        try:
            # The wait for one's turn counts too: callers that queue behind a dead Redis give up
            # together, not one after the other.
            async with asyncio.timeout(self._timeout_s), self._turn:
                if not self._spool.pending and self._epoch is not None:
                    return await self._send(alarm, "published", self._epoch)
        except (TimeoutError, UnavailableError) as error:
            if not self._spool.pending:
                _LOG.warning("alarms go to the spool", reason=str(error) or "time-out")
        await self._spool.append(alarm)
        self._counts["spooled"] += 1
        self._spooled_more.set()
        return PublishOutcome.SPOOLED

    async def _close(self) -> None:
        if self._accepting:
            await asyncio.wait(self._accepting)
        if self._drainer is not None:
            self._drainer.cancel()
            await asyncio.gather(self._drainer, return_exceptions=True)
            await self._send_the_rest()
        await self._spool.aclose()
        await self._redis.aclose()

    async def _send_the_rest(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._catch_up()
        except (TimeoutError, UnavailableError):
            _LOG.warning("alarms stay in the spool", pending=self._spool.pending)

    async def _find_epoch(self) -> None:
        try:
            self._epoch = await redis_epoch(self._redis)
        except UnavailableError as error:
            _LOG.warning("alarms go to the spool", reason=str(error))

    async def _send(self, alarm: Alarm, count_as: str, epoch: str) -> PublishOutcome:
        stream = self._streams.get(alarm.tenant)
        if stream is None:
            stream = AlarmStream(self._redis, alarm.tenant, capacity=self._stream_capacity)
            self._streams[alarm.tenant] = stream
        fresh = await stream.publish(alarm, epoch=epoch) is not None
        if count_as != "restored":
            self._recent.append((self._clock.monotonic(), alarm))
        self._counts[count_as if fresh else "known"] += 1
        return PublishOutcome.PUBLISHED if fresh else PublishOutcome.KNOWN

    async def _keep_draining(self) -> None:
        while True:
            try:
                await self._catch_up()
            except UnavailableError:
                await asyncio.sleep(self._backoff.next_delay_s())
                continue
            except Exception:  # noqa: BLE001 - task top: a bug must not end the replay silently
                _LOG.exception("the spool cannot be drained")
                await asyncio.sleep(RETRY_MAX_S)
                continue
            self._backoff.reset()
            try:
                async with asyncio.timeout(EPOCH_EVERY_S):
                    await self._spooled_more.wait()
            except TimeoutError:
                continue  # Nothing to drain: time to look at the epoch.

    async def _catch_up(self) -> None:
        """What Redis may have forgotten first, then what waits: the order in which it was raised.

        Until this is done, `_accept` finds another epoch than Redis has, or alarms in the spool,
        and adds to the spool.
        """
        self._spooled_more.clear()
        epoch = await redis_epoch(self._redis)
        if self._epoch not in (None, epoch):
            for _, alarm in list(self._recent):
                await self._send(alarm, "restored", epoch)
            _LOG.warning("Redis was restarted", restored=self._counts["restored"])
        self._epoch = epoch
        while self._recent and self._recent[0][0] < self._clock.monotonic() - REMEMBER_S:
            self._recent.popleft()
        if self._spool.pending:
            replayed = await self._spool.drain(lambda alarm: self._send(alarm, "replayed", epoch))
            _LOG.info("the spool is empty again", replayed=replayed)


async def replay_left_spools(redis_url: str, spool_dir: Path) -> int:
    """Send what publishers left that will not come back, such as hosts that were scaled down.

    Spools that are in use are left alone. Call it before publishers start: one that starts
    meanwhile could find its spool in use.

    Returns:
        How many alarms were sent.

    Raises:
        UnavailableError: Redis is away; what was not sent stays.
    """
    redis = open_redis(redis_url)
    total = 0
    try:
        for path in await asyncio.to_thread(left_spools, spool_dir):
            total += await _replay(redis, AlarmSpool(path))
    finally:
        await redis.aclose()
    return total


async def _replay(redis: Redis, spool: AlarmSpool) -> int:
    try:
        await spool.open()
        return await spool.drain(lambda alarm: AlarmStream(redis, alarm.tenant).publish(alarm))
    except ConfigError as error:
        _LOG.info("a spool is left alone", reason=str(error))
        return 0
    finally:
        await spool.aclose()
