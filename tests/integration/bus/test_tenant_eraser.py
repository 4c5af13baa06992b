"""Entries of single objects, and everything of one tenant, go from Redis; nothing else does."""

from __future__ import annotations

from redis.asyncio import Redis

from cluster.stores.bus import (
    AlarmStream,
    CameraStatusBoard,
    TenantEraser,
    TrackStream,
)
from cluster.stores.bus.erase import PAGE
from cluster.stores.bus.keys import MODEL_KEY, dead_key, rate_key
from cluster.stores.bus.stream import FIELD
from pipelines.erasure import Target
from tests.factories import make_alarm, make_path, make_sighting, make_status

A = Target("gate", "track-1")


async def found(eraser: TenantEraser, stream: str, *targets: Target) -> list[str]:
    ids = []
    async for entries in eraser.entries(stream, set(targets)):
        ids += [entry.id for entry in entries]
    return ids


async def test_entries_of_an_object_in_every_stream(redis_client: Redis) -> None:
    alarms, tracks = AlarmStream(redis_client, "acme"), TrackStream(redis_client, "acme")
    await tracks.publish([make_sighting(1), make_path(1), make_sighting(2), make_path(2)])
    for number in range(PAGE + 3):
        track = "track-1" if number in (0, PAGE - 1, PAGE + 1) else "track-2"
        await alarms.publish(make_alarm(number, track=track))
    dead: dict[bytes, bytes] = {FIELD: make_alarm(9, track="track-1").model_dump_json().encode()}
    await redis_client.xadd(dead_key(alarms.key), {**dead, b"reason": b"too long"})
    await redis_client.xadd(dead_key(tracks.key), {b"odd": b"no update"})
    await redis_client.xadd(alarms.key, {FIELD: b"{"})
    eraser = TenantEraser(redis_client, "acme")
    counts = {stream: len(await found(eraser, stream, A)) for stream in eraser.streams}
    assert counts == {"alarms": 3, "tracks": 2, "alarms.dead": 1, "tracks.dead": 0}
    assert await found(eraser, "alarms", Target("yard", "track-1")) == []
    for stream in eraser.streams:
        ids = await found(eraser, stream, A)
        for _ in range(2):
            await eraser.remove(stream, ids)
        assert await found(eraser, stream, A) == []
    lengths = [await redis_client.xlen(key) for key in eraser.streams.values()]
    assert lengths == [PAGE + 1, 2, 0, 1]


async def test_every_key_of_one_tenant(redis_client: Redis) -> None:
    for tenant in ("acme", "acme-2", "globex"):
        await AlarmStream(redis_client, tenant).publish(make_alarm(1, tenant))
        await TrackStream(redis_client, tenant).publish([make_sighting(1, tenant)])
        await CameraStatusBoard(redis_client).put_all(tenant, [make_status()])
        await redis_client.set(rate_key(tenant, "requests"), 1)
    await redis_client.set(rate_key(None, "requests"), 1)
    await redis_client.set(MODEL_KEY, "yolov8n.pt")
    eraser, before = TenantEraser(redis_client, "acme"), await redis_client.dbsize()
    keys = await eraser.keys()
    assert len(keys) == 5  # the alarm's marker is one
    assert all(key.startswith("atalaia:{acme}:") for key in keys)
    passing = {key for key in keys if ":id:" in key or ":rate:" in key}
    assert set(eraser.lasting) & set(keys) == set(keys) - passing
    for _ in range(2):
        await eraser.remove_keys(keys)
    assert await eraser.keys() == []
    assert await redis_client.dbsize() == before - 5
