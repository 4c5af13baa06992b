"""Carries alarms, and what tracks did, from the tenants' streams into the records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from redis.asyncio import Redis

from cluster.stores.bus.consumer import (
    CLAIM_IDLE_MS,
    Consumer,
    ListenerStats,
    Loss,
    OnLoss,
    ignore_loss,
)
from cluster.stores.bus.keys import alarms_key, settled_key, tracks_key
from cluster.stores.bus.stream import (
    GROUP,
    KEEP_FOR_READERS,
    AlarmStream,
    decode_entry,
)
from cluster.stores.bus.tracks import TrackStream, TrackUpdate, decode_update
from pipelines.clock import Clock
from pipelines.domain import Alarm, AnalysedCell, Sighting, TrackPath

__all__ = ["CLAIM_IDLE_MS", "GROUP", "Listener", "ListenerStats", "Loss", "TrackListener"]


class AlarmRecords(Protocol):
    """What the listener needs of a tenant's records; `TenantRecords` is one."""

    async def record_alarms(self, alarms: list[Alarm]) -> int: ...


class TrackRecords(Protocol):
    """What the listener needs of a tenant's tracks; `TenantTracks` is one."""

    async def record_paths(self, paths: list[TrackPath]) -> None: ...

    async def record_objects(self, sightings: list[Sighting]) -> None: ...

    async def record_analysed(self, cells: list[AnalysedCell]) -> None: ...


OnRecorded = Callable[[Sequence[Alarm]], None]
"""Told of alarms that the records hold. One that is delivered twice is told of twice."""


class _AlarmHandler:
    name = "alarms"
    # One SQL transaction takes 2 ms for one alarm and 36 ms for a hundred (SQLite,
    # synchronous=FULL).
    batch = 100

    def __init__(
        self,
        redis: Redis,
        records: Callable[[str], AlarmRecords],
        keep: int,
        on_recorded: OnRecorded,
    ) -> None:
        self._redis = redis
        self._records = records
        self._keep = keep
        self._on_recorded = on_recorded

    def key(self, tenant: str) -> str:
        return alarms_key(tenant)

    def mark(self, tenant: str) -> str | None:
        return settled_key(tenant)

    def decode(self, tenant: str, fields: Mapping[bytes, bytes]) -> Alarm:
        return decode_entry(tenant, fields)

    async def record(self, tenant: str, items: list[Alarm]) -> int:
        count = await self._records(tenant).record_alarms(items)
        self._on_recorded(items)
        return count

    async def trim(self, tenant: str) -> None:
        await AlarmStream(self._redis, tenant).trim(GROUP, self._keep)


class _TrackHandler:
    name = "tracks"
    batch = 200

    def __init__(self, redis: Redis, records: Callable[[str], TrackRecords]) -> None:
        self._redis = redis
        self._records = records

    def key(self, tenant: str) -> str:
        return tracks_key(tenant)

    def mark(self, tenant: str) -> str | None:
        # Paths may be lost under pressure; to look at each twice would cost more.
        return None

    def decode(self, tenant: str, fields: Mapping[bytes, bytes]) -> TrackUpdate:
        return decode_update(tenant, fields)

    async def record(self, tenant: str, items: list[TrackUpdate]) -> int:
        records = self._records(tenant)
        await records.record_objects([item for item in items if isinstance(item, Sighting)])
        await records.record_paths([item for item in items if isinstance(item, TrackPath)])
        await records.record_analysed([item for item in items if isinstance(item, AnalysedCell)])
        return len(items)

    async def trim(self, tenant: str) -> None:
        await TrackStream(self._redis, tenant).trim(GROUP)


class Listener(Consumer[Alarm]):
    """Records each alarm, then acknowledges it; see `Consumer`.

    Args:
        records: the records of a tenant.
        keep: entries of each stream that stay for readers once they are recorded.
    """

    def __init__(
        self,
        redis: Redis,
        tenants: Callable[[], Awaitable[Sequence[str]]],
        records: Callable[[str], AlarmRecords],
        consumer: str,
        *,
        clock: Clock | None = None,
        claim_idle_ms: int = CLAIM_IDLE_MS,
        keep: int = KEEP_FOR_READERS,
        on_loss: OnLoss = ignore_loss,
        on_recorded: OnRecorded = lambda _: None,
    ) -> None:
        super().__init__(
            redis,
            tenants,
            _AlarmHandler(redis, records, keep, on_recorded),
            consumer,
            clock=clock,
            claim_idle_ms=claim_idle_ms,
            on_loss=on_loss,
        )


class TrackListener(Consumer[TrackUpdate]):
    """Records objects and paths, then drops them from their stream; see `Consumer`.

    Args:
        records: the objects and paths of a tenant.
    """

    def __init__(
        self,
        redis: Redis,
        tenants: Callable[[], Awaitable[Sequence[str]]],
        records: Callable[[str], TrackRecords],
        consumer: str,
        *,
        clock: Clock | None = None,
        claim_idle_ms: int = CLAIM_IDLE_MS,
        on_loss: OnLoss = ignore_loss,
    ) -> None:
        super().__init__(
            redis,
            tenants,
            _TrackHandler(redis, records),
            consumer,
            clock=clock,
            claim_idle_ms=claim_idle_ms,
            on_loss=on_loss,
        )
