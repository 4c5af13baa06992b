"""From a publisher through Redis to the records: bounded, and every loss told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from cluster.stores.bus import AlarmStream, Listener, TrackListener, TrackPublisher, TrackStream
from cluster.stores.bus.keys import dead_key, tracks_key
from cluster.stores.db import AlarmQuery, Database, ObjectQuery
from pipelines.domain import AnalysedCell, Sighting, TrackPath
from pipelines.errors import InputError, UnavailableError
from tests.factories import T0_US, make_alarm, make_analysed, make_path, make_sighting
from tests.integration.conftest import ValkeyServer


async def _until(done: Callable[[], Awaitable[bool]], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not await done():  # noqa: ASYNC110 - what it waits for is in another process
            await asyncio.sleep(0.02)


async def _two_tenants() -> Sequence[str]:
    return ["acme", "globex"]


async def _paths(database: Database, tenant: str = "acme") -> list[TrackPath]:
    return await database.tracks(tenant).paths("gate", 0, T0_US * 2)


async def _analysed(database: Database) -> list[AnalysedCell]:
    return await database.tracks("acme").analysed("gate", 0, T0_US * 2)


async def _objects(database: Database, tenant: str = "acme") -> list[Sighting]:
    page = await database.tracks(tenant).objects(ObjectQuery(limit=500))
    return [item.sighting for item in reversed(page.items)]


@asynccontextmanager
async def _listening(redis: Redis, database: Database) -> AsyncIterator[TrackListener]:
    listener = TrackListener(redis, _two_tenants, database.tracks, "a", claim_idle_ms=200)
    task = asyncio.create_task(listener.run())
    try:
        yield listener
        assert not task.done(), "the listener ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _publishing(url: str, **limits: int) -> AsyncIterator[TrackPublisher]:
    publisher = TrackPublisher(url, **limits)
    publisher.start()
    try:
        yield publisher
    finally:
        await publisher.aclose()


async def test_what_is_offered_is_recorded(
    valkey: str, redis_client: Redis, database: Database
) -> None:
    """From another thread, as watchers do it; and then the stream is empty again."""
    seen = [make_path(0), make_sighting(0), make_path(1), make_sighting(0, "globex")]
    updates = [*seen, make_analysed(0)]
    async with _publishing(valkey) as publisher, _listening(redis_client, database):
        thread = threading.Thread(target=publisher.offer, args=(updates,))
        thread.start()
        thread.join()

        async def recorded() -> bool:
            there = len(await _paths(database)) == 2 and await _analysed(database)
            return bool(there and await _objects(database, "globex"))

        await _until(recorded)
        assert await _paths(database) == [make_path(0), make_path(1)]
        assert await _objects(database) == [make_sighting(0)]
        assert await _analysed(database) == [make_analysed(0)]
        assert await _objects(database, "globex") == [make_sighting(0, "globex")]

        async def emptied() -> bool:
            return not await redis_client.xlen(tracks_key("acme"))

        await _until(emptied)
        stats = publisher.stats
    assert (stats.published, stats.dropped, stats.refused, stats.pending) == (5, 0, 0, 0)


async def test_a_whole_batch_of_paths(valkey: str, redis_client: Redis, database: Database) -> None:
    async with _publishing(valkey) as publisher, _listening(redis_client, database):
        publisher.offer([make_path(n) for n in range(1_000)])

        async def recorded() -> bool:
            return len(await _paths(database)) == 1_000

        await _until(recorded)
        assert publisher.stats.published == 1_000


async def test_the_oldest_goes_where_too_much_waits(valkey: str, redis_client: Redis) -> None:
    publisher = TrackPublisher(valkey, capacity=10)
    publisher.offer([make_path(n) for n in range(25)])
    assert (publisher.stats.pending, publisher.stats.dropped) == (10, 15)

    await publisher.aclose()

    entries = await redis_client.xrange(tracks_key("acme"))
    told = [TrackPath.model_validate_json(fields[b"path"]).track for _, fields in entries]
    assert told == [f"track-{n}" for n in range(15, 25)]
    assert publisher.stats.published == 10


async def test_a_full_stream_refuses_and_that_is_counted(valkey: str, redis_client: Redis) -> None:
    """Nobody records: the stream stays within its bounds, for each tenant by itself."""
    async with _publishing(valkey, stream_capacity=5) as publisher:
        publisher.offer([make_path(n) for n in range(8)])
        publisher.offer([make_path(0, "globex")])

        async def sent() -> bool:
            return publisher.stats.pending == 0 and publisher.stats.refused == 3

        await _until(sent)
        assert publisher.stats.published == 6
    assert await redis_client.xlen(tracks_key("acme")) == 5
    assert await redis_client.xlen(tracks_key("globex")) == 1


async def test_redis_away_and_back(start_valkey: Callable[[], ValkeyServer]) -> None:
    """What fits waits; what does not is dropped and counted; nobody who offers waits."""
    server = start_valkey()
    async with _publishing(server.url, capacity=50) as publisher:
        publisher.offer([make_path(0)])

        async def sent() -> bool:
            return publisher.stats.pending == 0 and publisher.stats.published > 0

        await _until(sent)
        server.kill()
        publisher.offer([make_path(n) for n in range(1, 101)])
        await asyncio.sleep(1)
        assert publisher.stats.dropped == 50
        server.start()
        await _until(sent)
        stats = publisher.stats
    assert (stats.published, stats.dropped, stats.refused) == (51, 50, 0)


async def test_closing_while_redis_is_away_drops_and_counts() -> None:
    publisher = TrackPublisher("redis://127.0.0.1:1/0")
    publisher.start()
    publisher.offer([make_path(n) for n in range(3)])
    async with asyncio.timeout(60):
        await publisher.aclose()
        await publisher.aclose()
    assert (publisher.stats.dropped, publisher.stats.pending) == (3, 0)


async def test_what_cannot_be_read_is_buried(redis_client: Redis, database: Database) -> None:
    key = tracks_key("acme")
    await redis_client.xadd(key, {"path": b"{}"})
    await redis_client.xadd(key, {"path": make_path(0, "globex").model_dump_json()})
    await redis_client.xadd(key, {"other": b"x"})
    await TrackStream(redis_client, "acme").publish([make_sighting(1)])
    async with _listening(redis_client, database) as listener:

        async def recorded() -> bool:
            return bool(await _objects(database))

        await _until(recorded)
        assert listener.stats.dead == 3
    dead = await redis_client.xrange(dead_key(key))
    reasons = [fields[b"reason"].decode() for _, fields in dead]
    assert "belongs to tenant globex" in reasons[1]
    assert await _paths(database, "globex") == []


async def test_alarms_pass_a_track_stream_that_is_stuck(
    redis_client: Redis, database: Database
) -> None:
    """The records refuse all track updates; alarms are recorded all the same."""

    class Stuck:
        async def record_paths(self, paths: list[TrackPath]) -> None:
            raise UnavailableError("not now.")

        async def record_objects(self, sightings: list[Sighting]) -> None:
            raise UnavailableError("not now.")

    await TrackStream(redis_client, "acme").publish([make_path(n) for n in range(500)])
    alarms = Listener(redis_client, _two_tenants, database.tenant, "a")
    tracks = TrackListener(redis_client, _two_tenants, lambda _: Stuck(), "a")
    tasks = [asyncio.create_task(listener.run()) for listener in (tracks, alarms)]
    for number in range(20):
        await AlarmStream(redis_client, "acme").publish(make_alarm(number))

    async def recorded() -> bool:
        return len((await database.tenant("acme").alarms(AlarmQuery())).items) == 20

    await _until(recorded)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await redis_client.xlen(tracks_key("acme")) == 500


async def test_a_stream_takes_only_its_tenants_news(redis_client: Redis) -> None:
    with pytest.raises(InputError, match="another tenant"):
        await TrackStream(redis_client, "acme").publish([make_path(0), make_path(1, "globex")])
    assert await redis_client.xlen(tracks_key("acme")) == 0
