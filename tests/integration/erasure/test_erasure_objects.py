"""A chosen object goes from every store, and nothing else does; and it does not come back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from cluster.clips.clips import clip_keys
from cluster.erasure.receipt import verify
from cluster.erasure.stores import ErasureStores
from cluster.recording.shipper import blob_key
from cluster.recording.strays import painted_key
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmStream, TrackStream
from cluster.stores.bus.listener import Listener, TrackListener
from cluster.stores.db import AlarmQuery, ErasureRecord, JobState
from pipelines.domain import AlarmSource, Segment, Stages
from pipelines.erasure import (
    ErasureState,
    ErasureStep,
    StepState,
    Target,
    WaitReason,
    object_digest,
)
from pipelines.errors import ConflictError, InputError, NotFoundError, UnavailableError
from pipelines.identity import object_snapshot_key
from pipelines.retention import DAY_US, LATEST_US, HeldSpan
from tests.factories import T0_US, make_alarm, make_path, make_sighting
from tests.integration.erasure.place import KEYS, SETTLE_US, Killed, Place
from tests.integration.retention.site import DIM, MINUTE_US

A = Target("gate", "track-0")
S = ErasureStep

COUNTS = {
    "sql.objects": 1, "sql.paths": 1, "sql.alarms": 1, "sql.recordings": 1,
    "redis.alarms": 1, "redis.tracks": 2, "vectors.objects": 1,
    "blobs.pictures": 1, "blobs.alarm_pictures": 1, "blobs.clips": 1,
    "blobs.recordings": 1, "blobs.tables": 1,
}  # fmt: skip
"""What `fill` stores of A, counted by hand."""


async def fill(place: Place) -> set[str]:
    """Object A with a recording and a table of its minute, one of ten minutes later, one of another
    camera, and one of another tenant under the same names. Returns the files of A."""
    _, alarm = await place.object(0)
    await place.object(9)
    await place.object(0, camera="yard")
    await place.object(0, "globex")
    for number, tenant, camera in (
        (0, "acme", "gate"), (9, "acme", "gate"), (0, "acme", "yard"), (0, "globex", "gate"),
    ):  # fmt: skip
        await place.recording(number, tenant, camera)
    for camera in ("gate", "yard"):
        await place.site.blobs["acme"].put(f"detections/{camera}/{T0_US}-ab.parquet", b"a table")
    return {
        object_snapshot_key("gate", "track-0"),
        f"alarms/{alarm.id}.jpg",
        f"clips/{alarm.id}.mp4",
        f"recordings/gate/{T0_US + MINUTE_US}.mp4",
        f"detections/gate/{T0_US}-ab.parquet",
    }


async def test_files_of_a_jobs_alarm_whose_place_a_live_one_took_go_too(place: Place) -> None:
    """Its row is gone; its picture and its clip show the object all the same."""
    blobs, records = place.site.blobs["acme"], place.site.database.tenant("acme")
    sighting, live = await place.object(0)
    await place.object(9)
    stages = live.stages.model_copy(update={"capture_us": live.capture_us + 1})
    job = make_alarm(77, track=sighting.track, source=AlarmSource.BATCH).model_copy(
        update={"stages": stages, "snapshot": f"alarms/{make_alarm(77).id}.jpg"}
    )
    # The other way about than it came: first the job's, then the live one.
    await place.site.database.expiry("acme").remove_alarms([live.id])
    assert await records.record_alarms([job]) == 1
    assert await records.record_alarms([live]) == 1
    assert [r.alarm.id for r in (await records.alarms(AlarmQuery(camera="gate"))).items][
        -1
    ] == live.id
    for key in (job.snapshot, f"clips/{job.id}.mp4"):
        await blobs.put(str(key), b"shows the object")
    others = place.site.files() - {str(job.snapshot), f"clips/{job.id}.mp4"}
    await place.finish("acme", await place.ask(A))
    assert place.site.files() == {key for key in others if "track-0" not in key} - {
        f"alarms/{live.id}.jpg",
        f"clips/{live.id}.mp4",
        object_snapshot_key("gate", "track-0"),
    }


def removed(record: ErasureRecord) -> dict[str, int]:
    return {kind: count.removed for kind, count in record.counts.items() if count.removed}


async def kept(place: Place, tenant: str) -> tuple[Any, ...]:
    """Everything that there is of a tenant."""
    site = place.site
    remembered = await site.vectors_of(tenant).search([1.0] * DIM, 100)
    return (
        site.files(tenant),
        await site.alarms(tenant),
        await site.recordings(tenant),
        await site.paths(tenant, "gate"),
        await site.paths(tenant, "yard"),
        {(match.sighting.camera, match.sighting.track) for match in remembered},
        await place.redis.xlen(AlarmStream(place.redis, tenant).key),
        await place.redis.xlen(TrackStream(place.redis, tenant).key),
    )


async def test_one_object_goes_from_every_store(place: Place) -> None:
    own_files = await fill(place)
    before, theirs = await kept(place, "acme"), await kept(place, "globex")
    erasure = await place.ask(A)
    record = await place.finish("acme", erasure)
    assert removed(record) == COUNTS
    after = await kept(place, "acme")
    assert before[0] - after[0] == own_files
    assert len(before[1]) - len(after[1]) == 1
    assert before[2] - after[2] == {f"recordings/gate/{T0_US + MINUTE_US}.mp4"}
    assert after[3:6] == ({"track-9"}, {"track-0"}, {("gate", "track-9"), ("yard", "track-0")})
    assert (before[6] - after[6], before[7] - after[7]) == (1, 2)
    assert await kept(place, "globex") == theirs
    with pytest.raises(NotFoundError):
        await place.site.database.tracks("acme").object("track-0", "gate")
    assert (await place.site.database.tracks("acme").object("track-0", "yard")).sighting.label


async def test_the_receipt_says_what_went_and_names_nobody(place: Place) -> None:
    await fill(place)
    record = await place.finish("acme", await place.ask(A))
    receipt = record.receipt
    assert receipt is not None
    verify(receipt, KEYS.public)
    assert receipt["subject"] == {
        "kind": "objects", "asked": 1, "erased": [object_digest("acme", A)],
    }  # fmt: skip
    assert (receipt["reason"], receipt["asked_by"]) == ("case 7", "key:k1")
    counts: Any = receipt["removed"]
    told = {f"{store}.{kind}": n["count"] for store in counts for kind, n in counts[store].items()}
    assert told == COUNTS
    assert receipt["check"] == {
        "at": receipt["ended_at"],
        "found": {"blobs": 0, "redis": 0, "sql": 0, "vectors": 0},
    }
    remainders: Any = receipt["remainders"]
    backups = next(r for r in remainders if r["what"] == "backups")
    assert backups["until"] > receipt["ended_at"]
    assert "track-0" not in str(receipt)
    # What names the object is gone from the records of the erasure, too.
    assert await place.stores("acme").work.items(record.id, "", state=None) == []
    for changed in ({"reason": "another"}, {"held": {"sql.objects": 1}}, {"signature": "00" * 64}):
        with pytest.raises(InputError, match="changed"):
            verify({**receipt, **changed}, KEYS.public)
    with pytest.raises(InputError, match="not known here"):
        verify(receipt, {})
    assert await place.site.audited("acme", "erasure.done") == [
        {"kind": "objects", "tenant": "acme", "removed": sum(COUNTS.values())}
    ]


async def test_killed_at_any_call_it_goes_on_and_ends_the_same(
    place: Place,
) -> None:
    """Killed at the first call of a store, then at the second of what is left, and so on: one
    erasure that is killed over and over, and still counts each thing once."""
    own_files = await fill(place)
    before = await kept(place, "acme")
    erasure = await place.ask(A)
    kills, at_call = 0, 1
    while (await place.record("acme", erasure)).receipt is None:
        assert at_call < 2_000
        runner = place.killing_runner(at_call)
        try:
            await runner.round()
        except Killed:
            kills += 1
        else:
            place.site.clock.advance(SETTLE_US / 1e6)
        await runner.aclose()
        # A run that gets as far as the last one, and further; before a call, then behind one.
        at_call += 3
    record = await place.record("acme", erasure)
    assert kills > 20
    assert removed(record) == COUNTS
    after = await kept(place, "acme")
    assert before[0] - after[0] == own_files
    assert after[3:6] == ({"track-9"}, {"track-0"}, {("gate", "track-9"), ("yard", "track-0")})


@pytest.mark.parametrize("away", ["blobs", "memory", "redis"])
async def test_a_store_that_is_away_is_waited_for_and_holds_up_no_other(
    place: Place, away: str
) -> None:
    class Away:
        streams: ClassVar = {"alarms": "", "tracks": ""}

        def __getattr__(self, name: str) -> Any:
            def refuse(*_: object, **__: object) -> Any:
                raise UnavailableError("the store is away.")

            return refuse

    def change(stores: ErasureStores) -> ErasureStores:
        changed: dict[str, Any] = {away: Away()}
        return replace(stores, **changed)

    await fill(place)
    erasure = await place.ask(A)
    for _ in range(3):
        await place.runner(change).round()
        place.site.clock.advance(SETTLE_US / 1e6)
    record = await place.record("acme", erasure)
    step = {"blobs": S.FILES, "memory": S.VECTORS, "redis": S.STREAMS}[away]
    waiting = [(r.step, r.reason) for r in record.steps if r.state is StepState.WAITING]
    assert (record.state, waiting) == (ErasureState.WAITING, [(step, WaitReason.STORE_AWAY)])
    others = {S.RECORDS, S.STREAMS, S.VECTORS, S.FILES} - {step}
    assert all(record.step_states[other] is StepState.DONE for other in others)
    assert record.step_states[S.SIGN] is StepState.PENDING
    assert removed(await place.finish("acme", erasure)) == COUNTS


async def test_a_store_that_stays_away_is_tried_later_and_later(place: Place) -> None:
    tries = 0

    class Away:
        async def known(self, targets: list[Target]) -> list[Target]:
            nonlocal tries
            tries += 1
            raise UnavailableError("the store is away.")

    def change(stores: ErasureStores) -> ErasureStores:
        changed: dict[str, Any] = {"memory": Away()}
        return replace(stores, **changed)

    await place.object(0)
    erasure, runner = await place.ask(A), place.runner(change)
    for _ in range(3):
        await runner.round()
    assert tries == 1
    # Of 5 s at first; then 10, of which it waits half at least.
    for wait_s, expected in ((5, 2), (4.9, 2), (5.1, 3)):
        place.site.clock.advance(wait_s)
        await runner.round()
        assert tries == expected
    await runner.aclose()
    await place.finish("acme", erasure)


async def test_one_file_that_cannot_be_removed_stops_no_other(place: Place) -> None:
    own_files = await fill(place)
    stuck = next(key for key in own_files if key.startswith("alarms/"))

    class Stuck(TenantBlobs):
        async def delete(self, key: str) -> None:
            if key == stuck:
                raise UnavailableError("PermissionError.")
            await super().delete(key)

    async with Stuck(f"file://{place.site.folder}/blobs", "acme") as blobs:
        erasure = await place.ask(A)
        await place.runner(lambda stores: replace(stores, blobs=blobs)).round()
        assert place.site.files() & own_files == {stuck}
        record = await place.record("acme", erasure)
        assert record.report(S.FILES).reason is WaitReason.STORE_AWAY
    assert removed(await place.finish("acme", erasure)) == COUNTS


async def test_a_replay_of_the_streams_does_not_bring_it_back(place: Place) -> None:
    """The same messages again, and listeners that read the streams from the beginning: also while
    the erasure runs."""
    sighting, alarm = await place.object(0)
    erasure = await place.ask(A)
    await place.runner().round()
    later = sighting.model_copy(update={"last_seen_us": sighting.last_seen_us + MINUTE_US})
    await place.site.blobs["acme"].put(object_snapshot_key("gate", "track-0"), b"a crop again")
    await place.site.blobs["acme"].put(f"alarms/{alarm.id}.jpg", b"a picture again")
    await place.redis.flushall()
    await AlarmStream(place.redis, "acme").publish(alarm)
    await TrackStream(place.redis, "acme").publish([later, make_path(0, "acme")])
    database, site = place.site.database, place.site

    async def tenants() -> list[str]:
        return ["acme"]

    listeners = (
        Listener(place.redis, tenants, database.tenant, "one"),
        TrackListener(place.redis, tenants, database.tracks, "one"),
    )
    tasks = [asyncio.create_task(listener.run()) for listener in listeners]
    try:
        while any(listener.stats.recorded + listener.stats.known == 0 for listener in listeners):
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (await site.alarms(), await site.objects(), await site.paths()) == (set(), set(), set())
    # What came of it has to rest before it is removed, so the erasure waits.
    await place.runner().round()
    record = await place.record("acme", erasure)
    assert record.report(S.SETTLE).reason is WaitReason.IN_SIGHT
    assert record.receipt is None
    await place.finish("acme", erasure)
    assert site.files() == set()
    assert await place.redis.xlen(AlarmStream(place.redis, "acme").key) == 0


async def test_a_clip_that_was_being_made_goes_too(place: Place) -> None:
    """Its alarm is gone when it is stored, so that no row leads to it."""
    _, alarm = await place.object(0)
    erasure = await place.ask(A)
    await place.runner().round()
    assert place.site.files() == set()
    late = clip_keys(alarm.id)
    for key in late:
        await place.site.blobs["acme"].put(key, b"late")
    record = await place.finish("acme", erasure)
    assert place.site.files() == set()
    assert (record.counts["blobs.clips"].removed, record.counts["blobs.clips"].bytes) == (
        2, len(b"a clip") + len(late) * len(b"late"),
    )  # fmt: skip


async def test_seen_again_after_the_end_it_is_removed_again(place: Place) -> None:
    sighting, _ = await place.object(0)
    record = await place.finish("acme", await place.ask(A))
    site = place.site
    await site.blobs["acme"].put(object_snapshot_key("gate", "track-0"), b"a crop again")
    await site.vectors_of("acme").upsert([(sighting, [1.0] * DIM)])
    await site.database.tracks("acme").record_objects([sighting])
    await place.runner().round()
    assert await site.remembered() == {"track-0"}  # it may still be on its way
    site.clock.advance(SETTLE_US / 1e6)
    await place.runner().round()
    assert (await site.remembered(), site.files(), await site.objects()) == (set(), set(), set())
    assert (await place.record("acme", record.id)).receipt == record.receipt
    assert await place.stores("acme").work.items(record.id, "", state=None) == []


async def test_a_recording_that_a_host_still_has_is_refused(place: Place) -> None:
    await place.object(0)
    await place.finish("acme", await place.ask(A))

    def segment(camera: str, start_us: int) -> Segment:
        return Segment(
            camera=camera, start_us=start_us, end_us=start_us + MINUTE_US, origin_us=start_us,
            codec="h264", width=640, height=360, frames=1, size=1, sha256="0" * 64,
            blob=f"recordings/{camera}/{start_us}.mp4",
        )  # fmt: skip

    recordings = place.site.database.recordings("acme")
    with pytest.raises(NotFoundError, match="erased"):
        await recordings.add(segment("gate", T0_US - 30_000_000))
    await recordings.add(segment("gate", T0_US + MINUTE_US))
    await recordings.add(segment("yard", T0_US))
    await place.site.database.retention("acme").add_hold(
        HeldSpan("gate", T0_US, T0_US + 1), "case", "key:k1"
    )
    await recordings.add(segment("gate", T0_US - 30_000_000))
    assert len(await place.site.recordings()) == 3


async def test_a_job_that_began_before_is_waited_for(place: Place) -> None:
    await fill(place)
    jobs = place.site.database.jobs("acme")
    job = await jobs.add("reprocess", {})
    erasure = await place.ask(A)
    for _ in range(3):
        await place.runner().round()
        place.site.clock.advance(SETTLE_US / 1e6)
    record = await place.record("acme", erasure)
    assert record.report(S.SETTLE).reason is WaitReason.JOB_RUNNING
    assert str(job.id) in record.report(S.SETTLE).detail
    # Before it ends it writes what it had found.
    sighting = make_sighting(0, first_seen_us=T0_US, last_seen_us=T0_US)
    await place.site.vectors_of("acme").upsert([(sighting, [1.0] * DIM)])
    await place.site.database.tracks("acme").record_objects([sighting])
    await jobs.finish(job.id, JobState.SUCCEEDED)
    await place.finish("acme", erasure)
    matches = await place.site.vectors_of("acme").search([1.0] * DIM, 100)
    assert ("gate", "track-0") not in {(m.sighting.camera, m.sighting.track) for m in matches}


async def test_what_a_hold_touches_stays_and_is_named(place: Place) -> None:
    """A hold on the beginning of A's recording, and one on all of another object."""
    own_files = await fill(place)
    other = Target("gate", "track-9")
    retention = place.site.database.retention("acme")
    before_us = T0_US + 30_000_000  # in the recording of A's minute, after A was in sight
    await retention.add_hold(HeldSpan("gate", before_us, before_us), "case 1", "key:k1")
    other_us = T0_US + 9 * MINUTE_US
    await retention.add_hold(HeldSpan(None, other_us, other_us), "case 2", "key:k1")
    record = await place.finish("acme", await place.ask(A, other))
    recording = f"recordings/gate/{T0_US + MINUTE_US}.mp4"
    table = f"detections/gate/{T0_US}-ab.parquet"
    assert place.site.files() & own_files == {recording, table}
    assert await place.site.paths() == {"track-9"}
    assert record.receipt is not None
    assert record.receipt["held"] == {"blobs.recordings": 1, "blobs.tables": 1, "sql.objects": 1}
    assert record.receipt["subject"] == {
        "kind": "objects", "asked": 2, "erased": [object_digest("acme", A)],
    }  # fmt: skip


async def test_alarms_of_others_lose_the_picture_that_shows_it(place: Place) -> None:
    """One that another object raised while A was in sight, and one long before."""
    await place.object(0)
    records, blobs = place.site.database.tenant("acme"), place.site.blobs["acme"]
    alarms = []
    for number, at_us in ((7, T0_US + 1_500_000), (8, T0_US - 3_600_000_000)):
        alarm = make_alarm(number, stages=Stages(capture_us=at_us))
        alarm = alarm.model_copy(update={"snapshot": f"alarms/{alarm.id}.jpg"})
        await records.record_alarms([alarm])
        for key in (f"alarms/{alarm.id}.jpg", *clip_keys(alarm.id)):
            await blobs.put(key, b"a file")
        alarms.append(alarm)
    during, long_before = alarms
    record = await place.finish("acme", await place.ask(A))
    assert (await records.alarm(during.id)).alarm.snapshot is None
    assert (await records.alarm(long_before.id)).alarm == long_before
    assert place.site.files() == {f"alarms/{long_before.id}.jpg", *clip_keys(long_before.id)}
    assert (record.counts["sql.alarms"].removed, record.counts["blobs.clips"].removed) == (1, 2)


async def test_what_can_be_asked_for(place: Place) -> None:
    await place.object(0)
    erasures = place.site.database.erasures("acme")
    for targets in ([], [Target("gate", f"t-{n}") for n in range(501)]):
        with pytest.raises(InputError, match="1 to 500"):
            await erasures.ask(targets, "", "key:k1")
    for target in (Target("gate", "unknown"), Target("yard", "track-0")):
        with pytest.raises(NotFoundError, match="not known"):
            await erasures.ask([A, target], "", "key:k1")
    assert (await erasures.ask([A, A], "", "key:k1")).objects == 1
    for _ in range(19):
        await erasures.ask([A], "", "key:k1")
    with pytest.raises(ConflictError, match="under way"):
        await erasures.ask([A], "", "key:k1")
    assert len(await erasures.erasures()) == 20
    assert await place.site.database.erasures("globex").erasures() == []


async def test_recordings_without_a_row_go_with_the_time_that_they_may_show(place: Place) -> None:
    """Files end at most twenty minutes after they begin; A was in sight from T0 for two seconds."""
    await fill(place)
    site, retention = place.site, place.site.database.retention("acme")
    old_us = site.clock.now_us() - 2 * SETTLE_US

    async def stray(start_us: int, camera: str = "gate", *, stored_us: int = old_us) -> str:
        key = blob_key(camera, start_us)
        await site.blobs["acme"].put(key, b"a recording")
        site.age_file("acme", key, stored_us)
        return key

    goes = {
        await stray(T0_US - 19 * MINUTE_US),
        await stray(T0_US + 1_000_000),
        await stray(T0_US + 2_000_000),
    }
    masked = painted_key(blob_key("gate", T0_US), "ab" * 32)
    await site.blobs["acme"].put(masked, b"a recording")
    site.age_file("acme", masked, old_us)
    stays = {
        await stray(T0_US - 21 * MINUTE_US),
        await stray(T0_US + 3_000_000),
        await stray(T0_US, "yard"),
    }
    record = await place.finish("acme", await place.ask(A))
    assert not site.files() & (goes | {masked})
    assert stays <= site.files()
    assert record.counts["blobs.recordings"].removed == COUNTS["blobs.recordings"] + 4
    # What a hold keeps stays, and is named; what is being stored right now is left to its shipper.
    held = await stray(T0_US + 9 * MINUTE_US)
    await retention.add_hold(HeldSpan("gate", T0_US + 10 * MINUTE_US, LATEST_US), "c", "key:k1")
    fresh = await stray(T0_US + 1_000_000, stored_us=site.clock.now_us() + DAY_US)
    record = await place.finish("acme", await place.ask(Target("gate", "track-9")))
    assert {held, fresh} <= site.files()
    assert record.receipt is not None
    assert record.receipt["held"]["blobs.recordings"] >= 1
