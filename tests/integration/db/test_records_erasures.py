"""What was erased stays out of the records, in SQLite and PostgreSQL, whoever comes first."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from cluster.stores.db import (
    AlarmQuery,
    Database,
    ErasedCount,
    ErasureItem,
    ObjectQuery,
    downgrade,
    migrate,
)
from cluster.stores.db.erase_object import PAGE
from cluster.stores.db.erased import PICTURES, VECTORS
from cluster.stores.db.erasures import TARGETS
from pipelines.domain import Stages
from pipelines.erasure import ErasureState, ItemState, Target
from pipelines.errors import ConflictError, NotFoundError
from pipelines.retention import HeldSpan, is_held
from tests.factories import T0_US, make_alarm, make_path, make_sighting

A = Target("gate", "track-1")


@pytest.fixture
async def erasure(database: Database) -> UUID:
    """One of A, an object with a path and an alarm, beside another object."""
    tracks = database.tracks("acme")
    await tracks.record_objects([make_sighting(1), make_sighting(2)])
    await tracks.record_paths([make_path(1), make_path(2)])
    await database.tenant("acme").record_alarms([make_alarm(1), make_alarm(2)])
    return (await database.erasures("acme").ask([A], "case", "key:k1")).id


async def erase(database: Database, erasure: UUID) -> None:
    work = database.erasure_work("acme")
    span = await work.erase_object(erasure, A)
    assert span is not None
    place = await work.erase_alarms(erasure, A, span, None)
    while place is not None:
        place = await work.erase_alarms(erasure, A, span, place)


async def kept(database: Database) -> tuple[set[str], set[str], set[str]]:
    tracks = database.tracks("acme")
    objects = (await tracks.objects(ObjectQuery(limit=500))).items
    alarms = (await database.tenant("acme").alarms(AlarmQuery(limit=500))).items
    return (
        {record.sighting.track for record in objects},
        {path.track for path in await tracks.paths("gate", 0, 2**62)},
        {record.alarm.track for record in alarms},
    )


async def test_it_goes_and_is_refused_from_then_on(database: Database, erasure: UUID) -> None:
    await erase(database, erasure)
    assert await kept(database) == ({"track-2"},) * 3
    tracks, work = database.tracks("acme"), database.erasure_work("acme")
    await tracks.record_objects([make_sighting(1), make_sighting(3)])
    await tracks.record_paths([make_path(1), make_path(3)])
    alarms = [make_alarm(1), make_alarm(3), make_alarm(9, track="track-1")]
    assert await database.tenant("acme").record_alarms(alarms) == 1
    assert await kept(database) == ({"track-2", "track-3"},) * 3
    assert await tracks.erased([A, Target("gate", "track-3")]) == {A}
    counts = (await work.erasure(erasure)).counts
    assert counts == dict.fromkeys(
        ("sql.alarms", "sql.objects", "sql.paths"), ErasedCount(removed=1)
    )
    # What such updates leave behind waits to be removed, from when it was refused.
    left = {(i.kind, i.key) for i in await work.items(erasure, "") if i.since_us}
    assert (VECTORS, "gate/track-1") in left
    assert ("blobs.alarm_pictures", f"alarms/{alarms[2].id}.jpg") in left


async def test_a_hold_keeps_from_an_erasure_what_it_keeps_from_retention(
    database: Database, erasure: UUID
) -> None:
    """Holds on alarms that were made with shorter rolls are as long as those of today."""
    retention, after_us = database.retention("acme"), T0_US + 60_000_000
    hold = await retention.add_hold(
        HeldSpan("gate", after_us, after_us + 10_000_000), "case", "key:k1", alarm=UUID(int=1)
    )
    work, seen = database.erasure_work("acme"), make_sighting(1)
    assert seen.last_seen_us < hold.from_us
    assert is_held(seen.first_seen_us, seen.last_seen_us, await retention.held(), "gate")
    assert await work.erase_object(erasure, A) is None
    assert await work.held(erasure) == {TARGETS: 1}
    assert (await database.tracks("acme").object("track-1")).sighting == seen


async def test_another_camera_and_tenant_may_have_such_a_track(
    database: Database, erasure: UUID
) -> None:
    await erase(database, erasure)
    yard, theirs = make_sighting(1, camera="yard"), make_sighting(1, "globex")
    await database.tracks("acme").record_objects([yard])
    await database.tracks("globex").record_objects([theirs])
    assert (await database.tracks("acme").object("track-1")).sighting == yard
    assert (await database.tracks("globex").object("track-1")).sighting == theirs


async def test_writers_and_the_erasure_at_once(database: Database, erasure: UUID) -> None:
    """Each of many writers comes before the erasure, and is removed, or behind it, and is
    refused."""
    tracks, records = database.tracks("acme"), database.tenant("acme")

    async def write(number: int) -> None:
        at_us = T0_US + number * 1_000
        stages = Stages(capture_us=at_us)
        await tracks.record_objects([make_sighting(1, last_seen_us=at_us + 5_000_000)])
        await tracks.record_paths([make_path(1, start_us=at_us)])
        await records.record_alarms([make_alarm(100 + number, track="track-1", stages=stages)])

    await asyncio.gather(
        *(write(n) for n in range(12)), erase(database, erasure), *(write(n) for n in range(12, 24))
    )
    # An alarm may be recorded between the two looks of one erasure; the next one finds it.
    await erase(database, erasure)
    assert await kept(database) == ({"track-2"},) * 3


async def test_more_alarms_than_a_page(database: Database, erasure: UUID) -> None:
    """Of the object, and of others while it was in sight."""
    at = Stages(capture_us=T0_US + 1_500_000)
    own = [make_alarm(1_000 + n, track="track-1", stages=at) for n in range(PAGE)]
    others = [make_alarm(2_000 + n, stages=at, snapshot="alarms/x.jpg") for n in range(PAGE)]
    records = database.tenant("acme")
    await records.record_alarms(own + others)
    await erase(database, erasure)
    page = await records.alarms(AlarmQuery(limit=500))
    assert {r.alarm.track for r in page.items} == {"track-2", *(a.track for a in others)}
    assert {r.alarm.snapshot for r in page.items} == {None}
    counts = (await database.erasures("acme").erasure(erasure)).counts
    assert counts["sql.alarms"].removed == PAGE + 1


async def test_alarms_of_earlier_versions_are_known_by_their_object(
    database: Database, database_url: str
) -> None:
    """Its row may have reached its age before the alarm that it raised."""
    await database.tenant("acme").record_alarms([make_alarm(1), make_alarm(2)])
    await downgrade(database_url, "0007")
    await migrate(database_url)
    asked = await database.erasures("acme").ask([A], "case", "key:k1")
    await erase(database, asked.id)
    assert await kept(database) == (set(), set(), {"track-2"})


async def test_things_are_counted_once_and_only_if_they_were_there(
    database: Database, erasure: UUID
) -> None:
    work = database.erasure_work("acme")
    there, missing = (ErasureItem(kind=PICTURES, key=f"objects/{n}.jpg") for n in "ab")
    await work.put(erasure, [there, missing])
    await work.note_sizes(erasure, {(PICTURES, there.key): 7})
    await work.put(erasure, [there])  # found again: that it was there is not forgotten
    for _ in range(2):
        await work.settle(erasure, [there, missing])
    assert (await work.erasure(erasure)).counts == {PICTURES: ErasedCount(removed=1, bytes=7)}
    assert await work.items(erasure, PICTURES) == []
    gone = await work.items(erasure, PICTURES, state=ItemState.GONE)
    assert {item.key for item in gone} == {there.key, missing.key}


async def test_what_is_refused_meanwhile_is_not_settled(database: Database, erasure: UUID) -> None:
    await erase(database, erasure)
    work = database.erasure_work("acme")
    [picture] = await work.items(erasure, PICTURES)
    await database.tracks("acme").record_objects([make_sighting(1)])
    await work.settle(erasure, [picture])
    [again] = await work.items(erasure, PICTURES)
    assert again.since_us > picture.since_us == 0
    assert await work.last_refusal_us(erasure) == again.since_us
    assert await work.items(erasure, PICTURES, refused_before_us=again.since_us - 1) == []


async def test_states_follow_each_other(database: Database, erasure: UUID) -> None:
    work = database.erasure_work("acme")
    record = await work.erasure(erasure)
    with pytest.raises(AssertionError, match="cannot become"):
        await work.save(record.model_copy(update={"state": ErasureState.DONE}))
    running = record.model_copy(update={"state": ErasureState.RUNNING})
    await work.save(running)
    await work.finish(running, {"format": "x"})
    done = await work.erasure(erasure)
    assert (done.state, done.receipt) == (ErasureState.DONE, {"format": "x"})
    with pytest.raises(AssertionError, match="cannot become"):
        await work.save(running)
    assert await work.items(erasure, "sql.", state=ItemState.GONE) == []


async def test_erasures_are_their_tenants_own(database: Database, erasure: UUID) -> None:
    theirs = database.erasure_work("globex")
    assert await theirs.erasures() == []
    for call in (
        theirs.erasure(erasure),
        theirs.erase_object(erasure, A),
        database.erasure_work("acme").erasure(uuid4()),
    ):
        with pytest.raises(NotFoundError):
            await call
    await theirs.settle(erasure, [ErasureItem(kind="sql.objects", key=A.key)])
    assert await theirs.items(erasure, "", state=None) == []
    assert len(await database.erasure_work("acme").items(erasure, "")) == 1
    assert await database.platform_erasures().due(0) == [("acme", erasure)]
    with pytest.raises(NotFoundError):
        await database.platform_erasures().erasure(erasure)


async def test_a_tenant_that_is_being_erased_takes_no_other_request(database: Database) -> None:
    erasures = database.erasures("acme")
    asked = await erasures.ask_for_all("contract ended", "user:u1")
    with pytest.raises(ConflictError, match="being erased"):
        await erasures.ask_for_all("again", "user:u1")
    work = database.erasure_work("acme")
    await work.close(asked.id)
    while await work.remove_rows(asked.id):
        pass
    await work.save(asked.model_copy(update={"state": ErasureState.RUNNING}))
    await work.finish(await work.erasure(asked.id), {"format": "x"})
    assert [tenant.slug for tenant in await database.platform().tenants()] == ["globex"]
    with pytest.raises(ConflictError, match="was erased"):
        await database.platform().ensure_tenant("acme", "Acme")
    with pytest.raises(NotFoundError):
        await database.tenant("acme").record_alarms([make_alarm(1)])
