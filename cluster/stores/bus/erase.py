"""Removes entries of single objects, or everything of one tenant, from Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from cluster.core.tenancy import require_tenant
from cluster.stores.bus.connection import redis_errors
from cluster.stores.bus.keys import (
    alarms_key,
    cameras_key,
    dead_key,
    tenant_keys_pattern,
    tracks_key,
)
from cluster.stores.bus.stream import UnreadableEntryError, decode_entry
from cluster.stores.bus.tracks import decode_update
from pipelines.domain import Alarm, AnalysedCell, Sighting, TrackPath
from pipelines.erasure import Target

# To read and parse 500 entries takes some 15 ms.
PAGE = 500


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An entry of a stream that is about an object.

    Attributes:
        stream: which one: a name of `TenantEraser.streams`.
        id: of the entry.
        thing: what it holds.
    """

    stream: str
    id: str
    thing: Alarm | Sighting | TrackPath


class TenantEraser:
    """What one tenant has in Redis. Every method may raise UnavailableError.

    Args:
        redis: from `open_redis`; stays the caller's to close.

    Raises:
        InputError: `tenant` is no slug.
    """

    def __init__(self, redis: Redis, tenant: str) -> None:
        require_tenant(tenant)
        self._redis = redis
        self._tenant = tenant
        alarms, tracks = alarms_key(tenant), tracks_key(tenant)
        self.streams = {
            "alarms": alarms,
            "tracks": tracks,
            "alarms.dead": dead_key(alarms),
            "tracks.dead": dead_key(tracks),
        }

    async def entries(
        self, stream: str, targets: Collection[Target]
    ) -> AsyncIterator[list[ObjectEntry]]:
        """The entries about some objects, one list for each page of the stream. What nobody can
        read is about none."""
        after = "-"
        while True:
            with redis_errors():
                page: Any = await self._redis.xrange(self.streams[stream], min=after, count=PAGE)
            found = []
            for raw_id, fields in page:
                thing = self._decoded(stream, fields)
                if thing is not None and Target(thing.camera, thing.track) in targets:
                    found.append(ObjectEntry(stream, raw_id.decode(), thing))
            yield found
            if len(page) < PAGE:
                return
            after = f"({page[-1][0].decode()}"

    def _decoded(
        self, stream: str, fields: dict[bytes, bytes]
    ) -> Alarm | Sighting | TrackPath | None:
        try:
            if stream.startswith("alarms"):
                return decode_entry(self._tenant, fields)
            update = decode_update(self._tenant, fields)
            return None if isinstance(update, AnalysedCell) else update
        except UnreadableEntryError:
            return None

    async def remove(self, stream: str, entries: Sequence[str]) -> None:
        """Remove entries, by id; those that are gone are no error."""
        if entries:
            with redis_errors():
                await self._redis.xdel(self.streams[stream], *entries)

    @property
    def lasting(self) -> list[str]:
        """The keys that do not end by themselves."""
        return [*self.streams.values(), cameras_key(self._tenant)]

    async def keys(self) -> list[str]:
        """Every key of the tenant."""
        found = []
        with redis_errors():
            async for key in self._redis.scan_iter(match=tenant_keys_pattern(self._tenant)):
                found.append(key.decode())
        return sorted(set(found))

    async def remove_keys(self, keys: Sequence[str]) -> None:
        """Remove keys of the tenant; those that are gone are no error."""
        if keys:
            with redis_errors():
                await self._redis.unlink(*keys)
