"""How long alarms wait in a real server for those who record them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from cluster.stores.bus import AlarmLag, AlarmStream, open_redis
from cluster.stores.bus.keys import alarms_key
from cluster.stores.bus.stream import GROUP
from pipelines.errors import UnavailableError
from tests.factories import make_alarm
from tests.integration.conftest import ValkeyServer

KEY = alarms_key("acme")
PAUSE_S = 0.05


async def publish(redis: Redis, number: int) -> None:
    await AlarmStream(redis, "acme").publish(make_alarm(number))


async def listen(redis: Redis) -> None:
    await redis.xgroup_create(KEY, GROUP, id="0", mkstream=True)


async def deliver(redis: Redis) -> list[bytes]:
    """What a listener is given; it has not recorded it yet."""
    answer = await redis.xreadgroup(GROUP, "one", {KEY: ">"}, count=100)
    return [entry_id for _, entries in answer for entry_id, _ in entries]


async def test_where_none_was_raised_none_waits(redis_client: Redis) -> None:
    lag = AlarmLag(redis_client)
    assert await lag.waiting_s("acme") == 0
    await listen(redis_client)
    assert await lag.waiting_s("acme") == 0


async def test_one_waits_until_it_is_recorded(redis_client: Redis) -> None:
    lag = AlarmLag(redis_client)
    await listen(redis_client)
    await publish(redis_client, 1)
    await asyncio.sleep(PAUSE_S)
    undelivered_s = await lag.waiting_s("acme")
    ids = await deliver(redis_client)
    await asyncio.sleep(PAUSE_S)
    unrecorded_s = await lag.waiting_s("acme")
    await redis_client.xack(KEY, GROUP, *ids)
    assert PAUSE_S <= undelivered_s + 0.002 < unrecorded_s
    assert await lag.waiting_s("acme") == 0


async def test_it_is_the_oldest_that_counts(redis_client: Redis) -> None:
    lag = AlarmLag(redis_client)
    await listen(redis_client)
    await publish(redis_client, 1)
    first, *_ = await deliver(redis_client)
    await asyncio.sleep(PAUSE_S)
    await publish(redis_client, 2)
    with_the_first_s = await lag.waiting_s("acme")
    await redis_client.xack(KEY, GROUP, first)
    without_it_s = await lag.waiting_s("acme")
    assert with_the_first_s + 0.002 >= PAUSE_S > without_it_s


async def test_without_a_listener_they_wait(redis_client: Redis) -> None:
    await publish(redis_client, 1)
    await asyncio.sleep(PAUSE_S)
    assert await AlarmLag(redis_client).waiting_s("acme") + 0.002 >= PAUSE_S


async def test_those_of_others_are_others(redis_client: Redis) -> None:
    await AlarmStream(redis_client, "globex").publish(make_alarm(1, tenant="globex"))
    await asyncio.sleep(PAUSE_S)
    assert await AlarmLag(redis_client).waiting_s("acme") == 0


async def test_what_cannot_be_known_is_an_error(start_valkey: Callable[[], ValkeyServer]) -> None:
    server = start_valkey()
    redis = open_redis(server.url)
    server.kill()
    with pytest.raises(UnavailableError):
        await AlarmLag(redis).waiting_s("acme")
    await redis.aclose()
