"""Waits until everything of a tenant that is on its way through Redis is in the records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cluster.core.settings import Settings
from cluster.stores.bus import TenantEraser, open_redis
from cluster.stores.bus.connection import redis_errors
from cluster.stores.bus.keys import alarms_key, tracks_key
from cluster.stores.bus.listener import Listener, TrackListener
from cluster.stores.bus.stream import GROUP
from cluster.stores.db import Database

_CONSUMER = "move"


class Drain:
    """Reads a tenant's streams like the listener, beside it or in its place.

    Args:
        listener, controller: signed in as these kinds of processes; closed by the caller.
    """

    def __init__(self, listener: Redis, controller: Redis, database: Database, tenant: str) -> None:
        self._listener = listener
        self._controller = controller
        self._database = database
        self._tenant = tenant

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Write what is in the streams into the records, until the end of the block."""

        async def tenants() -> list[str]:
            return [self._tenant]

        streams = (
            Listener(self._listener, tenants, self._database.tenant, _CONSUMER),
            TrackListener(self._listener, tenants, self._database.tracks, _CONSUMER),
        )
        tasks = [asyncio.create_task(stream.run(), name="drain") for stream in streams]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def is_empty(self) -> bool:
        """Whether everything was recorded that has arrived until now. Raises UnavailableError."""
        keys = alarms_key(self._tenant), tracks_key(self._tenant)
        return all([await self._is_read(key) for key in keys])

    async def dead_letters(self) -> bool:
        """Whether there are entries that could never be recorded. Raises UnavailableError."""
        streams = TenantEraser(self._controller, self._tenant).streams
        for name in ("alarms.dead", "tracks.dead"):
            with redis_errors():
                if await self._controller.xrange(streams[name], count=1):
                    return True
        return False

    async def _is_read(self, key: str) -> bool:
        with redis_errors():
            try:
                groups: Any = await self._listener.xinfo_groups(key)
            except ResponseError:
                return False  # no such stream, until the listener made it
        group = next((one for one in groups if one["name"] == GROUP.encode()), None)
        if group is None or group["pending"]:
            return False
        with redis_errors():
            after = f"({group['last-delivered-id'].decode()}"
            return not await self._controller.xrange(key, min=after, count=1)


@asynccontextmanager
async def open_drain(settings: Settings, database: Database, tenant: str) -> AsyncIterator[Drain]:
    """Raises ConfigError."""
    listener = open_redis(settings.redis_url_of("listener"))
    controller = open_redis(settings.redis_url_of("controller"))
    try:
        yield Drain(listener, controller, database, tenant)
    finally:
        await listener.aclose()
        await controller.aclose()
