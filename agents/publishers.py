"""What leaves this host for the records: alarms and track updates."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

from cluster.core.log import get_logger
from cluster.stores.bus import PublisherStats, PublishOutcome, TrackUpdate
from cluster.stores.bus.tracks import TrackCounts
from pipelines.clock import Clock
from pipelines.domain import Alarm
from pipelines.errors import ConfigError, UnavailableError

log = get_logger("publishers")

RETRY_S = 1.0
"""A killed predecessor holds the lock of its spool until its process is gone."""


class AlarmSender(Protocol):
    """What this needs of `cluster.stores.bus.AlarmPublisher`."""

    async def start(self) -> None: ...

    async def publish(self, alarm: Alarm) -> PublishOutcome: ...

    @property
    def stats(self) -> PublisherStats: ...

    async def aclose(self) -> None: ...


class TrackSender(Protocol):
    """What this needs of `cluster.stores.bus.TrackPublisher`."""

    def start(self) -> None: ...

    def offer(self, updates: Sequence[TrackUpdate]) -> None: ...

    @property
    def stats(self) -> TrackCounts: ...

    async def aclose(self) -> None: ...


class Publishers:
    """The two publishers of this host. Only for the host's loop.

    Args:
        open_alarms: makes a publisher of alarms; one that could not start is not used again.
        tracks: not started yet.
        clock: for the time of publishing.
        retry_s: pause between attempts to open the alarm spool.
    """

    def __init__(
        self,
        open_alarms: Callable[[], AlarmSender],
        tracks: TrackSender,
        clock: Clock,
        retry_s: float = RETRY_S,
    ) -> None:
        self._open_alarms = open_alarms
        self._alarms = open_alarms()
        self._tracks = tracks
        self._clock = clock
        self._retry_s = retry_s
        self._lost = Counter[str]()

    async def start(self) -> None:
        """Start both; returns when the alarm spool is open."""
        self._tracks.start()
        while True:
            try:
                await self._alarms.start()
                return
            except ConfigError as error:
                log.warning("the alarm spool cannot be opened yet", error=str(error))
            await asyncio.sleep(self._retry_s)
            self._alarms = self._open_alarms()

    async def publish(self, alarm: Alarm) -> None:
        """Send an alarm to Redis or to the spool, with the time of it."""
        stages = alarm.stages.model_copy(update={"published_us": self._clock.now_us()})
        try:
            await self._alarms.publish(alarm.model_copy(update={"stages": stages}))
        except UnavailableError as error:
            # Redis and the spool both refused: the one way to lose an alarm.
            self._lost["alarms_lost"] += 1
            log.error("alarm lost", alarm=str(alarm.id), error=str(error))

    def record_updates(self, updates: Sequence[TrackUpdate]) -> None:
        """Queue track updates for sending."""
        self._tracks.offer(updates)

    @property
    def counts(self) -> dict[str, int]:
        """What became of alarms (`alarms_*`) and of track updates (`tracks_*`)."""
        alarms = {f"alarms_{what}": n for what, n in asdict(self._alarms.stats).items()}
        tracks = {f"tracks_{what}": n for what, n in asdict(self._tracks.stats).items()}
        return alarms | tracks | dict(self._lost)

    async def aclose(self) -> None:
        """Publish what is still queued. Idempotent."""
        await self._alarms.aclose()
        await self._tracks.aclose()
