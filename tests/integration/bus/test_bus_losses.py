"""What Redis forgets, or somebody removes, before it is recorded: recorded all the same, or counted
as lost, with the reason."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from cluster.stores.bus import AlarmPublisher, AlarmStream, Listener, PublishOutcome, SpoolFullError
from cluster.stores.bus.keys import alarms_key, settled_key
from cluster.stores.bus.listener import Loss
from cluster.stores.bus.stream import FIELD, GROUP
from cluster.stores.db import AlarmQuery, Database
from pipelines.domain import Alarm
from pipelines.errors import UnavailableError
from tests.factories import make_alarm

KEY = alarms_key("acme")
PATIENCE_S = 60


class Records:
    """The records of a database that can be away."""

    def __init__(self, database: Database) -> None:
        self.away = False
        self.refused = asyncio.Event()
        self._database = database

    def __call__(self, tenant: str) -> Records:
        assert tenant == "acme"
        return self

    async def record_alarms(self, alarms: list[Alarm]) -> int:
        if self.away:
            self.refused.set()
            raise UnavailableError("the database is away.")
        return await self._database.tenant("acme").record_alarms(alarms)

    async def numbers(self) -> list[int]:
        numbers: list[int] = []
        cursor = None
        while True:
            query = AlarmQuery(limit=500, cursor=cursor)
            page = await self._database.tenant("acme").alarms(query)
            numbers += [item.alarm.frame_id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return sorted(numbers)


async def _tenants() -> Sequence[str]:
    return ["acme"]


@asynccontextmanager
async def listening(
    redis: Redis, records: Records, *, idle: int = 100, keep: int = 10_000
) -> AsyncIterator[Listener]:
    told = Counter[Loss]()

    def on_loss(what: str, loss: Loss, count: int) -> None:
        assert what == "alarms"
        told[loss] += count

    listener = Listener(
        redis, _tenants, records, "a", claim_idle_ms=idle, keep=keep, on_loss=on_loss
    )
    task = asyncio.create_task(listener.run())
    try:
        yield listener
        assert not task.done(), "the listener ended"
        assert told == listener.stats.lost
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def publish(redis: Redis, numbers: range) -> None:
    for number in numbers:
        await AlarmStream(redis, "acme").publish(make_alarm(number))


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await done():  # noqa: ASYNC110 - what it waits for is in Redis
            await asyncio.sleep(0.02)


async def settled(redis: Redis) -> None:
    """Until the mark is at the stream's end."""

    async def at_the_end() -> bool:
        mark: Any = await redis.get(settled_key("acme"))
        last = (await redis.xinfo_stream(KEY))["last-generated-id"]
        return mark is not None and mark.split()[0] == last

    await until(at_the_end)


async def refused(records: Records) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await records.refused.wait()


async def recorded_before(redis: Redis, records: Records, count: int) -> None:
    """An earlier listener recorded the first alarms and is gone."""
    async with listening(redis, records):
        await publish(redis, range(count))
        await settled(redis)


async def given_while_away(redis: Redis, records: Records, first: int, count: int) -> None:
    """The listener holds alarms that it cannot record."""
    records.away = True
    await publish(redis, range(first, first + count))
    await refused(records)


async def test_a_deleted_group_is_made_again_where_it_was(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    async with listening(redis_client, records) as listener:
        await publish(redis_client, range(5))
        await settled(redis_client)
        await given_while_away(redis_client, records, 5, 250)
        await redis_client.xgroup_destroy(KEY, GROUP)
        records.away = False
        await settled(redis_client)
        assert await records.numbers() == list(range(255))
        assert (listener.stats.recorded, listener.stats.known) == (255, 0)
        assert listener.stats.lost == {}


async def test_a_stream_that_began_anew_at_an_earlier_time_is_recorded(
    redis_client: Redis, database: Database
) -> None:
    """Somebody deleted it, and the clock of Redis was set back: its ids are before the mark."""
    records = Records(database)
    await recorded_before(redis_client, records, 5)
    await publish(redis_client, range(5, 8))
    late: Any = (await redis_client.xrange(KEY))[-3:]
    await redis_client.delete(KEY)
    for number, (_, fields) in enumerate(late):
        await redis_client.xadd(KEY, fields, id=f"1-{number}")
    async with listening(redis_client, records) as listener:
        await settled(redis_client)
        assert await records.numbers() == list(range(8))
        assert listener.stats.lost == {}


async def test_entries_of_a_deleted_consumer_are_recorded(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    records.away = True
    await publish(redis_client, range(250))
    async with listening(redis_client, records) as listener:
        await refused(records)
        assert await redis_client.xgroup_delconsumer(KEY, GROUP, "a") == 100
        records.away = False
        await settled(redis_client)
        assert await records.numbers() == list(range(250))
        assert listener.stats.recovered == 100
        assert listener.stats.lost == {}


async def test_entries_of_a_consumer_that_was_deleted_while_no_listener_ran(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    await recorded_before(redis_client, records, 3)
    await publish(redis_client, range(3, 9))
    await redis_client.xreadgroup(GROUP, "gone", {KEY: ">"}, count=4)
    assert await redis_client.xgroup_delconsumer(KEY, GROUP, "gone") == 4
    async with listening(redis_client, records, idle=60_000) as listener:
        await settled(redis_client)
        assert await records.numbers() == list(range(9))
        assert (listener.stats.recovered, listener.stats.known) == (4, 0)


async def test_a_group_that_was_moved_on_skips_nothing(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    await recorded_before(redis_client, records, 3)
    await publish(redis_client, range(3, 6))
    await redis_client.xgroup_setid(KEY, GROUP, "$")
    async with listening(redis_client, records):
        await settled(redis_client)
        assert await records.numbers() == list(range(6))


async def test_what_is_trimmed_under_pending_entries_is_counted(
    redis_client: Redis, database: Database
) -> None:
    """Of 250 alarms 100 are pending and 150 were never given out when all but ten are trimmed."""
    records = Records(database)
    await recorded_before(redis_client, records, 5)
    records.away = True
    await publish(redis_client, range(5, 255))
    async with listening(redis_client, records) as listener:
        await refused(records)
        assert (await redis_client.xpending(KEY, GROUP))["pending"] == 100
        await redis_client.xtrim(KEY, maxlen=10, approximate=False)
        records.away = False
        await settled(redis_client)
        assert await records.numbers() == [*range(5), *range(245, 255)]
        assert listener.stats.lost == {Loss.TRIMMED: 240}


async def test_what_is_trimmed_while_no_listener_runs_is_counted(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    await recorded_before(redis_client, records, 5)
    await publish(redis_client, range(5, 30))
    await redis_client.xreadgroup(GROUP, "gone", {KEY: ">"}, count=4)
    await redis_client.xgroup_delconsumer(KEY, GROUP, "gone")
    await redis_client.xtrim(KEY, maxlen=0, approximate=False)
    async with listening(redis_client, records) as listener:
        await publish(redis_client, range(30, 33))
        await settled(redis_client)
        assert await records.numbers() == [*range(5), *range(30, 33)]
        assert listener.stats.lost == {Loss.TRIMMED: 25}


async def test_one_pending_entry_that_is_deleted_is_counted(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    records.away = True
    await publish(redis_client, range(20))
    async with listening(redis_client, records) as listener:
        await refused(records)
        entries: Any = await redis_client.xrange(KEY)
        await redis_client.xdel(KEY, entries[7][0])
        records.away = False
        await settled(redis_client)
        assert await records.numbers() == [*range(7), *range(8, 20)]
        assert listener.stats.lost == {Loss.DELETED: 1}


async def test_our_own_trimming_loses_nothing_and_counts_nothing(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    async with listening(redis_client, records, keep=10) as listener:
        for start in (0, 150, 300):
            await publish(redis_client, range(start, start + 150))
            await settled(redis_client)
        assert await records.numbers() == list(range(450))
        assert listener.stats.lost == {}
        assert listener.stats.known == 0

        async def trimmed() -> bool:
            return bool(await redis_client.xlen(KEY) == 10)

        await until(trimmed)


async def test_what_was_removed_from_the_records_does_not_come_back(
    redis_client: Redis, database: Database
) -> None:
    """As retention does: the stream keeps recorded alarms for readers, which may be older."""
    records = Records(database)
    await recorded_before(redis_client, records, 5)
    await redis_client.xgroup_destroy(KEY, GROUP)
    written: list[int] = []

    class Watched(Records):
        async def record_alarms(self, alarms: list[Alarm]) -> int:
            written.extend(alarm.frame_id for alarm in alarms)
            return await super().record_alarms(alarms)

    watched = Watched(database)
    async with listening(redis_client, watched):
        await publish(redis_client, range(5, 7))
        await settled(redis_client)
    assert written == [5, 6]


async def test_a_stream_of_an_earlier_version_is_marked_where_its_group_is(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    await redis_client.xgroup_create(KEY, GROUP, id="0", mkstream=True)
    await publish(redis_client, range(8))
    answer: Any = await redis_client.xreadgroup(GROUP, "old", {KEY: ">"}, count=4)
    await redis_client.xack(KEY, GROUP, *(entry_id for entry_id, _ in answer[0][1][:2]))
    async with listening(redis_client, records) as listener:
        await settled(redis_client)
        assert await records.numbers() == [2, 3, 4, 5, 6, 7]
        assert listener.stats.lost == {}


async def test_an_unreadable_entry_is_no_silent_loss(
    redis_client: Redis, database: Database
) -> None:
    records = Records(database)
    async with listening(redis_client, records) as listener:
        await redis_client.xadd(KEY, {FIELD: b"garbage"})
        await settled(redis_client)
        assert listener.stats.lost == {Loss.DEAD: 1}


# Of a site that raises two alarms a second while the database is away for ten minutes.
IN_TEN_MINUTES = 1_200


async def test_a_database_that_is_away_for_ten_minutes_costs_nothing(
    valkey: str, redis_client: Redis, database: Database, tmp_path: Path
) -> None:
    """The alarms of ten minutes; the time itself changes nothing: what waits has no age limit."""
    records = Records(database)
    async with (
        listening(redis_client, records) as listener,
        AlarmPublisher(valkey, tmp_path, "host", timeout_s=PATIENCE_S) as publisher,
    ):
        records.away = True
        for number in range(IN_TEN_MINUTES):
            assert await publisher.publish(make_alarm(number)) is PublishOutcome.PUBLISHED
        await refused(records)
        assert await records.numbers() == []
        records.away = False
        await settled(redis_client)
        assert await records.numbers() == list(range(IN_TEN_MINUTES))
        assert listener.stats.recorded == IN_TEN_MINUTES
        assert listener.stats.lost == {}


async def test_beyond_the_streams_capacity_alarms_wait_on_disk_and_then_are_counted(
    valkey: str, redis_client: Redis, database: Database, tmp_path: Path
) -> None:
    """A stream for 200, and a spool with room for some of the rest: those it refuses are named."""
    records = Records(database)
    records.away = True
    lost: list[int] = []
    outcomes = Counter[PublishOutcome]()
    async with (
        listening(redis_client, records, keep=10) as listener,
        AlarmPublisher(
            *(valkey, tmp_path, "host"),
            timeout_s=PATIENCE_S,
            max_spool_bytes=64 << 10,
            stream_capacity=200,
        ) as publisher,
    ):
        for number in range(1_000):
            try:
                outcomes[await publisher.publish(make_alarm(number))] += 1
            except SpoolFullError:
                lost.append(number)
        assert outcomes[PublishOutcome.PUBLISHED] == 200
        assert outcomes[PublishOutcome.SPOOLED] > 0
        assert publisher.stats.refused == len(lost) > 0
        records.away = False

        async def recorded() -> bool:
            return len(await records.numbers()) >= 1_000 - len(lost)

        await until(recorded)
        assert await records.numbers() == sorted(set(range(1_000)) - set(lost))
        assert listener.stats.lost == {}
