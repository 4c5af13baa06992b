"""From the streams to the records: each alarm once, whatever dies in between."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cluster.stores.bus import AlarmPublisher, AlarmStream, Listener, open_redis
from cluster.stores.bus.keys import alarms_key, dead_key
from cluster.stores.bus.listener import GROUP
from cluster.stores.bus.stream import FIELD
from cluster.stores.db import AlarmQuery, Database
from pipelines.domain import Alarm
from pipelines.errors import UnavailableError
from tests.factories import make_alarm
from tests.integration.conftest import ValkeyServer


async def _until(done: Callable[[], Awaitable[bool]], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not await done():  # noqa: ASYNC110 - what it waits for is in another process
            await asyncio.sleep(0.02)


async def _recorded(database: Database, tenant: str = "acme") -> list[int]:
    """Numbers of all recorded alarms, in order of capture."""
    numbers: list[int] = []
    cursor = None
    while True:
        page = await database.tenant(tenant).alarms(AlarmQuery(limit=500, cursor=cursor))
        numbers += [item.alarm.frame_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return numbers[::-1]


async def _all_recorded(database: Database, count: int, tenant: str = "acme") -> None:
    async def done() -> bool:
        return len(await _recorded(database, tenant)) >= count

    await _until(done)
    assert await _recorded(database, tenant) == list(range(count))


async def _all_acknowledged(redis: Redis, tenant: str = "acme") -> None:
    async def done() -> bool:
        (group,) = await redis.xinfo_groups(alarms_key(tenant))
        return bool(group["pending"] == 0 and group["lag"] == 0)

    await _until(done)


async def _two_tenants() -> Sequence[str]:
    return ["acme", "globex"]


@asynccontextmanager
async def _listening(
    redis: Redis,
    database: Database,
    consumer: str = "a",
    tenants: Callable[[], Awaitable[Sequence[str]]] = _two_tenants,
    *,
    claim_idle_ms: int = 200,
    keep: int = 10_000,
) -> AsyncIterator[Listener]:
    listener = Listener(
        redis, tenants, database.tenant, consumer, claim_idle_ms=claim_idle_ms, keep=keep
    )
    task = asyncio.create_task(listener.run())
    try:
        yield listener
        assert not task.done(), "the listener ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_alarms_of_all_tenants_are_recorded(redis_client: Redis, database: Database) -> None:
    for number in range(3):
        await AlarmStream(redis_client, "acme").publish(make_alarm(number))
    async with _listening(redis_client, database) as listener:
        for number in range(2):
            await AlarmStream(redis_client, "globex").publish(make_alarm(number, "globex"))
        await _all_recorded(database, 3)
        await _all_recorded(database, 2, "globex")
        await _all_acknowledged(redis_client)
        assert listener.stats.recorded == 5
    assert (await database.tenant("acme").alarm(make_alarm(1).id)).alarm == make_alarm(1)


async def test_a_new_tenant_needs_no_restart(redis_client: Redis, database: Database) -> None:
    platform = database.platform()

    async def tenants() -> list[str]:
        return [tenant.slug for tenant in await platform.tenants()]

    async with _listening(redis_client, database, tenants=tenants):
        await asyncio.sleep(0.1)
        await platform.ensure_tenant("initech", "Initech")
        await AlarmStream(redis_client, "initech").publish(make_alarm(0, "initech"))
        await _all_recorded(database, 1, "initech")


async def test_a_crash_between_record_and_acknowledgement(
    redis_client: Redis, database: Database
) -> None:
    """The entry is delivered again to the same consumer, and recorded once."""
    stream = AlarmStream(redis_client, "acme")
    await redis_client.xgroup_create(stream.key, GROUP, id="0", mkstream=True)
    for number in range(3):
        await stream.publish(make_alarm(number))
    await redis_client.xreadgroup(GROUP, "a", {stream.key: ">"}, count=2)
    await database.tenant("acme").record_alarms([make_alarm(0)])  # … and here it dies
    async with _listening(redis_client, database, claim_idle_ms=60_000) as listener:
        await _all_recorded(database, 3)
        await _all_acknowledged(redis_client)
        assert (listener.stats.recorded, listener.stats.known) == (2, 1)


async def test_work_of_a_dead_consumer_is_taken_over(
    redis_client: Redis, database: Database
) -> None:
    stream = AlarmStream(redis_client, "acme")
    await redis_client.xgroup_create(stream.key, GROUP, id="0", mkstream=True)
    for number in range(150):
        await stream.publish(make_alarm(number))
    await redis_client.xreadgroup(GROUP, "gone", {stream.key: ">"}, count=150)
    async with _listening(redis_client, database, claim_idle_ms=100) as listener:
        await _all_recorded(database, 150)
        await _all_acknowledged(redis_client)
        assert listener.stats.recorded == 150


async def test_what_cannot_be_recorded_is_put_aside_with_its_reason(
    redis_client: Redis, database: Database
) -> None:
    stream = AlarmStream(redis_client, "acme")
    await stream.publish(make_alarm(0))
    await redis_client.xadd(stream.key, {FIELD: b"garbage"})
    await redis_client.xadd(stream.key, {"other": "field"})
    foreign = make_alarm(7, "globex").model_dump_json()
    await redis_client.xadd(stream.key, {FIELD: foreign})
    too_large = (
        make_alarm(8).model_dump_json().replace('"capture_us":17', f'"capture_us":{9 * 10**20}17')
    )
    await redis_client.xadd(stream.key, {FIELD: too_large})
    await stream.publish(make_alarm(1))
    async with _listening(redis_client, database) as listener:
        await _all_recorded(database, 2)
        await _all_acknowledged(redis_client)
        assert (listener.stats.recorded, listener.stats.dead) == (2, 4)
    dead = [fields for _, fields in await redis_client.xrange(dead_key(alarms_key("acme")))]
    assert [fields[b"reason"].decode().split(".")[0] for fields in dead] == [
        "not an alarm: all of it: Invalid JSON: expected value at line 1 column 1",
        "the entry has no field named alarm",
        "the alarm belongs to tenant globex",
        "the database does not take one of the values",
    ]
    assert dead[2][FIELD].decode() == foreign, "nothing of it is lost"
    assert all(fields[b"stream_id"] for fields in dead)
    assert await _recorded(database, "globex") == []


async def test_two_listeners_share_the_work(redis_client: Redis, database: Database) -> None:
    other = Redis.from_pool(redis_client.connection_pool)
    stream = AlarmStream(redis_client, "acme")
    async with (
        _listening(redis_client, database, "a") as first,
        _listening(other, database, "b") as second,
    ):
        for number in range(300):
            await stream.publish(make_alarm(number))
        await _all_recorded(database, 300)
        await _all_acknowledged(redis_client)
        assert first.stats.recorded + second.stats.recorded == 300


async def test_recorded_entries_are_trimmed_and_unrecorded_ones_stay(
    redis_client: Redis, database: Database
) -> None:
    stream = AlarmStream(redis_client, "acme")
    for number in range(50):
        await stream.publish(make_alarm(number))
    async with _listening(redis_client, database, keep=10):
        await _all_recorded(database, 50)
        await _all_acknowledged(redis_client)

        async def trimmed() -> bool:
            return bool(await redis_client.xlen(stream.key) == 10)

        await _until(trimmed)
    for number in range(50, 80):
        await stream.publish(make_alarm(number))
    assert await redis_client.xlen(stream.key) == 40


async def test_a_redis_that_lost_everything_is_used_again(
    redis_client: Redis, database: Database
) -> None:
    stream = AlarmStream(redis_client, "acme")
    async with _listening(redis_client, database):
        await stream.publish(make_alarm(0))
        await _all_recorded(database, 1)
        await redis_client.flushall()
        await stream.publish(make_alarm(1))
        await _all_recorded(database, 2)


class SometimesAway:
    """Records whose database is away for the first calls."""

    def __init__(self, database: Database, failures: int) -> None:
        self.database = database
        self.failures = failures

    def __call__(self, tenant: str) -> SometimesAway:
        self.tenant = tenant
        return self

    async def record_alarms(self, alarms: list[Alarm]) -> int:
        if self.failures > 0:
            self.failures -= 1
            raise UnavailableError("the database is away.")
        return await self.database.tenant(self.tenant).record_alarms(alarms)


async def test_nothing_is_acknowledged_while_the_database_is_away(
    redis_client: Redis, database: Database
) -> None:
    stream = AlarmStream(redis_client, "acme")
    for number in range(5):
        await stream.publish(make_alarm(number))
    records = SometimesAway(database, failures=3)
    told: list[int] = []
    listener = Listener(
        redis_client,
        _two_tenants,
        records,
        "a",
        claim_idle_ms=60_000,
        on_recorded=lambda alarms: told.extend(alarm.frame_id for alarm in alarms),
    )
    task = asyncio.create_task(listener.run())

    async def tried() -> bool:
        return records.failures < 3

    await _until(tried)
    assert told == []
    assert (await redis_client.xpending(stream.key, GROUP))["pending"] == 5
    await _all_recorded(database, 5)
    await _all_acknowledged(redis_client)
    assert sorted(told) == list(range(5))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


_LISTENER = """
import asyncio, sys
from cluster.stores.bus import Listener, open_redis
from cluster.stores.db import Database

async def tenants():
    return ["acme"]

async def main():
    async with Database(sys.argv[2]) as database:
        redis = open_redis(sys.argv[1])
        await Listener(redis, tenants, database.tenant, "victim").run()

asyncio.run(main())
"""


async def test_a_listener_killed_again_and_again_loses_nothing(
    valkey: str, redis_client: Redis, database: Database, tmp_path: Path
) -> None:
    stream = AlarmStream(redis_client, "acme")
    published = 0
    for _ in range(2):
        victim = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _LISTENER, valkey, f"sqlite:///{tmp_path / 'records.db'}"),
            stdout=subprocess.DEVNULL,
        )
        target = published + 40
        while len(await _recorded(database)) < target:
            await stream.publish(make_alarm(published))
            published += 1
            await asyncio.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
    async with _listening(redis_client, database, "b", claim_idle_ms=100):
        await _all_recorded(database, published)
        await _all_acknowledged(redis_client)


async def test_nothing_is_lost_when_redis_is_killed_during_a_stream_of_alarms(
    start_valkey: Callable[[], ValkeyServer], database: Database, tmp_path: Path
) -> None:
    """SIGKILL three times while alarms come. The server's file runs `appendfsync everysec`, with
    which it does lose what it acknowledged last: the publisher restores that."""
    server = start_valkey()
    count = 400
    redis = open_redis(server.url)
    async with (
        _listening(redis, database),
        AlarmPublisher(server.url, tmp_path / "spool", "host-0") as publisher,
    ):

        async def raise_alarms() -> None:
            for number in range(count):
                await publisher.publish(make_alarm(number))
                await asyncio.sleep(0.005)

        raising = asyncio.create_task(raise_alarms())
        for _ in range(3):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.start)
        await raising
        await _all_recorded(database, count)
        stats = publisher.stats
    assert stats.spooled > 0
    assert (stats.refused, stats.damaged, stats.pending) == (0, 0, 0)
    on_stream = [e.alarm.frame_id for e in await AlarmStream(redis, "acme").read("0", count=9999)]
    assert on_stream == list(range(count)), "once and in order"
    await redis.aclose()
