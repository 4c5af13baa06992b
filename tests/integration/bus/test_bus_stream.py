"""One tenant's stream in a real server."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from cluster.stores.bus import AlarmStream, StreamFullError, StreamGapError, open_redis
from cluster.stores.bus.listener import GROUP
from cluster.stores.bus.stream import FIELD
from pipelines.errors import InputError, UnavailableError
from tests.factories import make_alarm
from tests.ports import free_port


@pytest.fixture
def stream(redis_client: Redis) -> AlarmStream:
    return AlarmStream(redis_client, "acme")


async def _numbers(stream: AlarmStream, after: str, **options: int) -> list[int]:
    return [entry.alarm.frame_id for entry in await stream.read(after, **options)]


async def test_an_alarm_is_published_once(stream: AlarmStream) -> None:
    assert await stream.publish(make_alarm(1)) is not None
    assert await stream.publish(make_alarm(1)) is None
    answers = await asyncio.gather(*(stream.publish(make_alarm(2)) for _ in range(20)))
    assert sum(answer is not None for answer in answers) == 1
    assert [entry.alarm for entry in await stream.read("0")] == [make_alarm(1), make_alarm(2)]


async def test_tenants_do_not_meet(redis_client: Redis, stream: AlarmStream) -> None:
    other = AlarmStream(redis_client, "globex")
    await other.publish(make_alarm(1, tenant="globex"))
    assert await stream.read("0") == []
    with pytest.raises(InputError, match="another tenant"):
        await stream.publish(make_alarm(1, tenant="globex"))
    with pytest.raises(InputError):
        AlarmStream(redis_client, "acme}:alarms x{")


async def test_reading_after_an_entry_gives_exactly_those_behind_it(stream: AlarmStream) -> None:
    ids = [await stream.publish(make_alarm(n)) for n in range(10)]
    for place, entry_id in enumerate(ids):
        assert entry_id is not None
        assert await _numbers(stream, entry_id) == list(range(place + 1, 10))
    assert await _numbers(stream, "0", count=3) == [0, 1, 2]


async def test_a_reader_that_resumes_at_every_step_sees_each_once(stream: AlarmStream) -> None:
    """While alarms arrive, the reader stops after each read and resumes by the last id it saw."""

    async def publish() -> None:
        for number in range(60):
            await stream.publish(make_alarm(number))
            await asyncio.sleep(0.001)

    publishing = asyncio.create_task(publish())
    place, seen = await stream.tail_id(), []
    assert place == "0-0"
    while len(seen) < 60:
        for entry in await stream.read(place, block_ms=1_000, count=7):
            seen.append(entry.alarm.frame_id)
            place = entry.stream_id
    await publishing
    assert seen == list(range(60))
    assert await stream.read(place) == []


async def test_waiting_ends_with_an_alarm_or_with_time(stream: AlarmStream) -> None:
    tail = await stream.tail_id()
    reading = asyncio.create_task(stream.read(tail, block_ms=3_000))
    await asyncio.sleep(0.05)
    await stream.publish(make_alarm(1))
    assert [entry.alarm for entry in await reading] == [make_alarm(1)]
    assert await stream.read(await stream.tail_id(), block_ms=20) == []
    assert await stream.read("$", block_ms=20) == []


async def test_a_block_longer_than_the_clients_timeout_is_no_error(valkey: str) -> None:
    client = open_redis(valkey)
    reading = asyncio.create_task(AlarmStream(client, "quiet").read("$", block_ms=600_000))
    assert await asyncio.wait_for(reading, 60) == []
    await client.aclose()


async def test_trimming_keeps_what_the_listener_has_not_recorded(
    redis_client: Redis, stream: AlarmStream
) -> None:
    for number in range(20):
        await stream.publish(make_alarm(number))
    assert await stream.trim(GROUP, keep=5) == 0, "there is no group yet"
    await redis_client.xgroup_create(stream.key, GROUP, id="0")
    assert await stream.trim(GROUP, keep=5) == 0, "nothing was recorded yet"
    delivered = await redis_client.xreadgroup(GROUP, "a", {stream.key: ">"}, count=8)
    ids = [entry_id for entry_id, _ in delivered[0][1]]
    assert await stream.trim(GROUP, keep=5) == 0, "eight are in work"
    await redis_client.xack(stream.key, GROUP, *ids)
    assert await stream.trim(GROUP, keep=5) == 8
    assert await _numbers(stream, "0") == list(range(8, 20))
    await redis_client.xreadgroup(GROUP, "a", {stream.key: ">"}, noack=True)
    assert await stream.trim(GROUP, keep=5) == 7
    assert await _numbers(stream, "0") == list(range(15, 20))


async def test_resuming_across_a_trim_says_that_something_is_missing(
    redis_client: Redis, stream: AlarmStream
) -> None:
    ids = [await stream.publish(make_alarm(n)) or "" for n in range(10)]
    await redis_client.xtrim(stream.key, maxlen=4, approximate=False)
    for place in range(5):
        with pytest.raises(StreamGapError):
            await stream.read(ids[place])
    for place in range(6, 10):
        assert await _numbers(stream, ids[place]) == list(range(place + 1, 10))
    assert await _numbers(stream, "0") == [6, 7, 8, 9]
    tail = await stream.tail_id()
    assert tail == ids[9]
    await redis_client.xtrim(stream.key, maxlen=0, approximate=False)
    assert await stream.tail_id() == tail, "also when every entry is gone"
    await stream.publish(make_alarm(10))
    assert await stream.publish(make_alarm(3)) is None, "the trim does not forget ids"
    with pytest.raises(StreamGapError):
        await stream.read(ids[3])


async def test_a_full_stream_refuses(redis_client: Redis) -> None:
    stream = AlarmStream(redis_client, "acme", capacity=3)
    for number in range(3):
        await stream.publish(make_alarm(number))
    with pytest.raises(StreamFullError) as caught:
        await stream.publish(make_alarm(3))
    assert caught.value.retryable
    assert await stream.publish(make_alarm(2)) is None, "a known one is no news"
    await redis_client.xtrim(stream.key, maxlen=2, approximate=False)
    assert await stream.publish(make_alarm(3)) is not None


async def test_readers_step_over_what_cannot_be_read(
    redis_client: Redis, stream: AlarmStream
) -> None:
    await stream.publish(make_alarm(0))
    for _ in range(5):
        last = await redis_client.xadd(stream.key, {FIELD: b"garbage"})
    assert await _numbers(stream, "0", count=2) == [0]
    assert await stream.read(last.decode()) == []
    (first,) = await stream.read("0")
    assert await stream.read(first.stream_id, count=2) == []
    await stream.publish(make_alarm(1))
    assert await _numbers(stream, first.stream_id, count=2) == [1]


async def test_no_redis_is_unavailable() -> None:
    client = open_redis(f"redis://127.0.0.1:{free_port()}/0")
    stream = AlarmStream(client, "acme")
    for call in (stream.publish(make_alarm()), stream.read("0"), stream.tail_id()):
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.retryable
    await client.aclose()
