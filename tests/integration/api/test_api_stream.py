"""`/v1/alarms/stream`: nothing lost, nothing twice, whatever clients and Redis do."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cluster.core.settings import QuotaSettings, Settings
from serve.api import alarm_feed
from tests.factories import make_alarm
from tests.integration.api.world import Frail, World, eventually, open_world, problem

PATH = "/v1/alarms/stream"


@dataclass
class Event:
    id: str | None = None
    event: str | None = None
    data: str = ""
    retry: str | None = None

    @property
    def alarm(self) -> str:
        """Id of the alarm."""
        return str(json.loads(self.data)["id"])


async def parse(response: httpx.Response) -> AsyncIterator[Event]:
    """Server-sent events of an answer, by the rules of the HTML standard."""
    event, touched = Event(), False
    async for line in response.aiter_lines():
        if not line:
            if touched:
                yield event
            event, touched = Event(), False
            continue
        field, _, value = line.partition(":")
        if field:
            setattr(event, field, value.removeprefix(" "))
            touched = True


@asynccontextmanager
async def follow(
    client: httpx.AsyncClient, last: str | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    headers = {"Last-Event-ID": last} if last else {}
    async with client.stream("GET", PATH, headers=headers) as response:
        assert response.status_code == 200
        events = parse(response)
        yield events


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    """The next `count` alarms."""
    found: list[Event] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            event = await anext(events)
            if event.event == "alarm":
                found.append(event)
    return found


def alarm_ids(*numbers: int) -> list[str]:
    return [str(make_alarm(n).id) for n in numbers]


async def test_an_alarm_arrives_as_in_the_list(acme: httpx.AsyncClient, world: World) -> None:
    alarm = make_alarm()
    await world.database.tenant("acme").record_alarms([alarm])
    async with acme.stream("GET", PATH) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        events = parse(response)
        opening = await anext(events)

        published = await world.stream("acme").publish(alarm)
        [event] = await take(events, 1)

    assert opening.retry == "2000"
    assert opening.id
    assert opening.data == ""
    assert event.id == published
    assert json.loads(event.data) == (await acme.get("/v1/alarms")).json()["alarms"][0]


async def test_a_client_gets_what_comes_after_it_connected(
    acme: httpx.AsyncClient, world: World
) -> None:
    await world.stream("acme").publish(make_alarm(0))
    async with follow(acme) as events:
        await anext(events)
        await world.stream("acme").publish(make_alarm(1))

        assert [e.alarm for e in await take(events, 1)] == alarm_ids(1)


async def test_resuming_is_exact(acme: httpx.AsyncClient, world: World) -> None:
    stream_ids = [await world.stream("acme").publish(make_alarm(n)) for n in range(10)]

    for at, last in enumerate(stream_ids[:-1]):
        async with follow(acme, last) as events:
            assert [e.alarm for e in await take(events, 9 - at)] == alarm_ids(*range(at + 1, 10))


@pytest.mark.parametrize("start", ["0", "0-0", "1"])
async def test_zero_means_everything(acme: httpx.AsyncClient, world: World, start: str) -> None:
    for n in range(3):
        await world.stream("acme").publish(make_alarm(n))

    async with follow(acme, start) as events:
        assert [e.alarm for e in await take(events, 3)] == alarm_ids(0, 1, 2)


async def test_the_opening_event_is_a_place_to_resume_from(
    acme: httpx.AsyncClient, world: World
) -> None:
    """A client that lost the connection before its first alarm misses none."""
    await world.stream("acme").publish(make_alarm(0))
    async with follow(acme) as events:
        opening = await anext(events)
    await world.stream("acme").publish(make_alarm(1))

    async with follow(acme, opening.id) as events:
        assert [e.alarm for e in await take(events, 1)] == alarm_ids(1)


async def test_more_alarms_than_the_ring_and_a_page_hold(
    acme: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_feed, "RING_SIZE", 5)
    monkeypatch.setattr(alarm_feed, "PAGE", 3)
    for n in range(20):
        await world.stream("acme").publish(make_alarm(n))

    async with follow(acme, "0") as events:
        first = await take(events, 10)
        for n in range(20, 50):
            await world.stream("acme").publish(make_alarm(n))
        rest = await take(events, 40)

    assert [e.alarm for e in first + rest] == alarm_ids(*range(50))


async def test_many_clients_share_one_reader(world: World) -> None:
    clients = [await world.client("acme") for _ in range(20)]

    async def one(client: httpx.AsyncClient) -> list[str]:
        async with follow(client) as events:
            await anext(events)
            ready.release()
            return [e.alarm for e in await take(events, 5)]

    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(one(client)) for client in clients]
    for _ in tasks:
        await ready.acquire()
    blocked = [c for c in await world.redis.client_list() if c["cmd"].startswith("xread")]
    for n in range(5):
        await world.stream("acme").publish(make_alarm(n))

    assert await asyncio.gather(*tasks) == [alarm_ids(*range(5))] * 20
    assert len(blocked) == 1


async def test_a_storm_of_reconnects_loses_and_repeats_nothing(world: World) -> None:
    """Ten clients that drop the connection after every few alarms, while alarms keep coming."""
    total, rng = 150, random.Random(7)
    opened = asyncio.Semaphore(0)

    async def stormy(client: httpx.AsyncClient) -> list[str]:
        seen: list[str] = []
        last: str | None = None
        while len(seen) < total:
            async with follow(client, last) as events:
                if last is None:
                    last = (await anext(events)).id
                    opened.release()
                for event in await take(events, min(rng.randint(1, 12), total - len(seen))):
                    seen.append(event.alarm)
                    last = event.id
        return seen

    clients = [await world.client("acme") for _ in range(10)]
    tasks = [asyncio.create_task(stormy(client)) for client in clients]
    for _ in tasks:
        await opened.acquire()
    for n in range(total):
        await world.stream("acme").publish(make_alarm(n))
        await asyncio.sleep(0.005)

    for seen in await asyncio.gather(*tasks):
        assert seen == alarm_ids(*range(total))


async def test_a_slow_client_still_gets_everything(
    acme: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_feed, "RING_SIZE", 4)
    async with follow(acme) as slow:
        await anext(slow)
        for n in range(300):
            await world.stream("acme").publish(make_alarm(n))
        await asyncio.sleep(0.2)
        assert [e.alarm for e in await take(slow, 300)] == alarm_ids(*range(300))


async def test_a_redis_that_went_away_is_followed_again(frail: Frail) -> None:
    acme, stream = await frail.world.client("acme"), frail.world.stream("acme")
    await stream.publish(make_alarm(0))
    async with follow(acme) as events, follow(acme, "0") as behind:
        await anext(events)
        await take(behind, 1)
        await stream.publish(make_alarm(1))
        await take(events, 1)
        await asyncio.to_thread(frail.redis.stop)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(frail.redis.start)
        await stream.publish(make_alarm(2))

        assert [e.alarm for e in await take(events, 1)] == alarm_ids(2)
        assert [e.alarm for e in await take(behind, 2)] == alarm_ids(1, 2)


async def test_without_redis_the_stream_is_a_503(frail: Frail) -> None:
    acme = await frail.world.client("acme")
    await asyncio.to_thread(frail.redis.stop)

    response = await acme.get(PATH)

    problem(response, 503, "unavailable")
    assert response.headers["retry-after"]
    await asyncio.to_thread(frail.redis.start)
    async with follow(acme) as events:
        assert (await anext(events)).id


async def test_a_stream_ends_with_the_key_that_opened_it(
    acme: httpx.AsyncClient, world: World
) -> None:
    async with follow(acme) as events, asyncio.timeout(60):
        await anext(events)
        await world.database.platform().revoke_key(world.keys["acme"].split("_")[1])

        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_the_last_client_stops_the_reader(acme: httpx.AsyncClient, world: World) -> None:
    async with follow(acme) as events:
        await anext(events)
        assert "atalaia_alarm_streams 1.0" in (await acme.get("/metrics")).text

    async def nobody_reads() -> bool:
        readers = [c for c in await world.redis.client_list() if c["cmd"].startswith("xread")]
        return not readers and "atalaia_alarm_streams 0.0" in (await acme.get("/metrics")).text

    await eventually(nobody_reads)


async def test_streams_are_bounded_per_tenant(settings: Settings, migrated: Path) -> None:
    quotas = QuotaSettings(event_streams=2)
    async with open_world(settings.model_copy(update={"quotas": quotas}), migrated) as world:
        acme, globex = await world.client("acme"), await world.client("globex")

        async with follow(acme) as one, follow(acme) as two:
            await anext(one)
            await anext(two)
            response = await acme.get(PATH)
            assert problem(response, 429, "quota-exceeded")["quota"] == "event-streams"
            assert response.headers["retry-after"]
            async with follow(globex) as other:
                await anext(other)
        async with asyncio.timeout(60), follow(acme) as again:
            await anext(again)


async def test_a_client_that_was_away_too_long_is_told_of_the_gap(
    acme: httpx.AsyncClient, world: World
) -> None:
    stream = world.stream("acme")
    stream_ids = [await stream.publish(make_alarm(n)) for n in range(10)]
    await world.redis.xtrim(stream.key, maxlen=4, approximate=False)

    async with follow(acme, stream_ids[2]) as events:
        assert (await anext(events)).event is None
        gap = await anext(events)
        assert (gap.event, gap.id) == ("gap", None)
        assert "/v1/alarms" in gap.data
        assert [e.alarm for e in await take(events, 4)] == alarm_ids(6, 7, 8, 9)
        await stream.publish(make_alarm(10))
        assert [e.alarm for e in await take(events, 1)] == alarm_ids(10)


async def test_a_trimmed_stream_is_no_gap_for_whoever_kept_up(
    acme: httpx.AsyncClient, world: World
) -> None:
    stream = world.stream("acme")
    async with follow(acme) as events:
        await anext(events)
        for n in range(30):
            await stream.publish(make_alarm(n))
            await world.redis.xtrim(stream.key, maxlen=2, approximate=False)
            assert [e.alarm for e in await take(events, 1)] == alarm_ids(n)


@pytest.mark.parametrize("last", ["x", "-1", "1-2-3", "99999999999999999999", "1-", "$", ">"])
async def test_an_id_that_the_stream_never_gave(acme: httpx.AsyncClient, last: str) -> None:
    body = problem(await acme.get(PATH, headers={"Last-Event-ID": last}), 422, "invalid-input")

    assert body["errors"][0]["parameter"] == "last-event-id"  # type: ignore[index]


async def test_silence_is_broken_by_heartbeats(
    acme: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.alarms.HEARTBEAT_S", 0.1)
    comments = 0
    async with asyncio.timeout(60), acme.stream("GET", PATH) as response:
        async for line in response.aiter_lines():
            comments += line.startswith(":")
            if comments == 3:
                return


async def test_the_picture_can_be_had_before_the_record_is_written(
    acme: httpx.AsyncClient, world: World
) -> None:
    alarm = make_alarm(snapshot="alarms/1.jpg")
    await world.blobs("acme").put("alarms/1.jpg", b"\xff\xd8picture")
    async with follow(acme) as events:
        await anext(events)
        await world.stream("acme").publish(alarm)
        [event] = await take(events, 1)

        response = await acme.get(json.loads(event.data)["snapshot"])

    assert response.content == b"\xff\xd8picture"
