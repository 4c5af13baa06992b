"""What has reached its age goes, with all that belongs to it, and nothing else."""

from __future__ import annotations

import random
import shutil
from uuid import uuid4

import pytest

from cluster.clips.clips import clip_keys
from cluster.clips.exports import manifest_key
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import KindCount, RemovalCause
from pipelines.errors import UnavailableError
from pipelines.identity import object_snapshot_key
from pipelines.retention import (
    DAY_US,
    HeldSpan,
    RetentionKind,
    RetentionPolicy,
    Window,
)
from tests.integration.retention.site import MINUTE_US, Site, Stuck

K = RetentionKind


async def test_without_limits_nothing_goes(site: Site) -> None:
    await site.alarm(3_000)
    await site.recording(3_000)
    await site.seen_object(3_000)
    await site.export(3_000)
    before = site.files()
    assert not await site.sweeper().round()
    assert site.files() == before
    assert [len(found) for found in (await site.alarms(), await site.objects())] == [1, 1]
    assert await site.audited("acme", "retention.remove") == []
    (run,) = await site.database.retention("acme").runs()
    assert (run.complete, run.counts, run.error) == (True, (), "")


async def test_each_kind_goes_by_its_own_limit(site: Site) -> None:
    old = [await site.alarm(days) for days in (10, 20, 30, 40)]
    recordings = [await site.recording(days) for days in (10, 20, 30, 40)]
    tracks = [await site.seen_object(days) for days in (10, 20, 30, 40)]
    made = [await site.export(days) for days in (10, 20, 30, 40)]
    limits = {
        K.ALARMS: 35, K.SNAPSHOTS: 15, K.CLIPS: 25, K.RECORDINGS: 25,
        K.OBJECTS: 35, K.PATHS: 15, K.EMBEDDINGS: 25, K.EXPORTS: 35,
    }  # fmt: skip
    assert not await site.sweeper(days=limits).round()
    assert await site.alarms() == {alarm.id for alarm in old[:3]}
    assert await site.recordings() == set(recordings[:2])
    assert await site.objects() == set(tracks[:3])
    assert await site.paths() == set(tracks[:1])
    assert await site.analysed() == [site.at_us(10)]
    assert await site.remembered() == set(tracks[:2])
    assert site.files() == {
        f"alarms/{old[0].id}.jpg",
        object_snapshot_key("gate", tracks[0]),
        *clip_keys(old[0].id),
        *clip_keys(old[1].id),
        *recordings[:2],
        *(manifest_key(id) for id in made[:3]),
    }
    # An alarm whose picture went says so.
    records = site.database.tenant("acme")
    assert [(await records.alarm(alarm.id)).alarm.snapshot for alarm in old[:2]] == [
        f"alarms/{old[0].id}.jpg",
        None,
    ]


async def test_what_was_removed_is_reported(site: Site) -> None:
    for days in (10, 40, 50):
        await site.recording(days, size=1_000)
    await site.sweeper(days={"recordings": 30}).round()
    expected = KindCount(kind=K.RECORDINGS, cause=RemovalCause.AGE, removed=2, bytes=2_000)
    (run,) = await site.database.retention("acme").runs()
    assert (run.counts, run.complete) == ((expected,), True)
    assert await site.audited("acme", "retention.remove") == [
        {"recordings": 2, "bytes": 2_000, "failures": 0}
    ]
    assert await site.audited("globex", "retention.remove") == []
    assert sum(count.removed for run in site.seen.runs for count in run.counts) == 2
    # Again there is nothing to do, and nothing to say.
    await site.sweeper(days={"recordings": 30}).round()
    assert len(await site.audited("acme", "retention.remove")) == 1


async def test_idle_runs_leave_one_report(site: Site) -> None:
    sweeper = site.sweeper(days={"recordings": 30})
    await site.recording(29)
    for _ in range(4):
        site.clock.advance(3_600)
        await sweeper.round()
    site.clock.advance(86_400)
    await sweeper.round()
    runs = await site.database.retention("acme").runs()
    assert [len(run.counts) for run in runs] == [1, 0]
    assert runs[1].started_us == runs[0].started_us - 86_400_000_000


async def test_a_camera_and_a_tenant_have_limits_of_their_own(site: Site) -> None:
    kept = {
        (tenant, camera): await site.recording(20, tenant, camera)
        for tenant in ("acme", "globex")
        for camera in ("gate", "yard")
    }
    policy = RetentionPolicy(days={K.RECORDINGS: 30}, cameras={"yard": {K.RECORDINGS: 10}})
    await site.database.retention("acme").set_policy(policy, "key:k1")
    await site.sweeper(days={"recordings": None}).round()
    assert await site.recordings("acme") == {kept["acme", "gate"]}
    assert await site.recordings("globex") == {kept["globex", "gate"], kept["globex", "yard"]}


async def test_what_a_removed_camera_left_goes_too(site: Site) -> None:
    await site.recording(20, camera="shed")
    await site.seen_object(20, camera="shed")
    await site.sweeper(days={"recordings": 10, "objects": 10}).round()
    assert site.files() == set()
    assert (await site.objects(), await site.remembered()) == (set(), set())


# ------------------------------------------------------------ holds


async def test_a_hold_keeps_everything_that_it_touches(site: Site) -> None:
    holds = site.database.retention("acme")
    held_us = site.at_us(40)
    span = HeldSpan("gate", held_us - MINUTE_US // 2, held_us + MINUTE_US)
    hold = await holds.add_hold(span, "a case", "key:k1")
    alarm, track = await site.alarm(40), await site.seen_object(40)
    recording, made = await site.recording(40), await site.export(40)
    held = site.files()
    for days in (39, 41):
        await site.alarm(days)
        await site.recording(days)
        await site.seen_object(days)
        await site.export(days)
    await site.recording(40, camera="yard")
    sweeper = site.sweeper(days=dict.fromkeys(K, 30))
    await sweeper.round()
    assert site.files() == held
    assert manifest_key(made) in held
    assert recording in await site.recordings()
    assert await site.alarms() == {alarm.id}
    assert await site.objects() == await site.paths() == await site.remembered() == {track}
    # Released, it goes like the rest.
    await holds.release_hold(hold.id, "key:k1")
    await sweeper.round()
    assert site.files() == set()
    assert await site.remembered() == set()


async def test_a_hold_on_all_cameras_is_one_of_its_tenant_only(site: Site) -> None:
    span = HeldSpan(None, 0, site.clock.now_us())
    await site.database.retention("acme").add_hold(span, "a case", "key:k1")
    for tenant in ("acme", "globex"):
        await site.recording(40, tenant)
        alarm = await site.alarm(40, tenant)
    await site.sweeper(days=dict.fromkeys(K, 30)).round()
    # The recording, the picture, and the files of the clip.
    assert len(site.files("acme")) == 2 + len(clip_keys(alarm.id))
    assert site.files("globex") == set()


@pytest.mark.parametrize("seed", range(3))
async def test_any_mixture_of_limits_and_holds(site: Site, seed: int) -> None:
    """What is left is worked out thing by thing."""
    dice = random.Random(seed)
    retention = site.database.retention("acme")
    limits = {"gate": dice.choice([10, 20, 30]), "yard": dice.choice([None, 10, 20])}
    await retention.set_policy(
        RetentionPolicy(cameras={c: {K.RECORDINGS: d, K.OBJECTS: d} for c, d in limits.items()}),
        "key:k1",
    )
    holds = []
    for _ in range(6):
        from_us = site.at_us(dice.uniform(0, 40))
        camera = dice.choice([None, "gate", "yard"])
        holds.append(HeldSpan(camera, from_us, from_us + round(dice.uniform(0, 3) * DAY_US)))
        await retention.add_hold(holds[-1], "a case", "key:k1")
    recordings, tracks = set(), set()
    for _ in range(40):
        days, camera = dice.uniform(0, 40), dice.choice(["gate", "yard"])
        key, track = (
            await site.recording(days, camera=camera),
            await site.seen_object(days, camera=camera),
        )
        end_us, limit = site.at_us(days), limits[camera]

        def kept(length_us: int, end_us: int = end_us, camera: str = camera) -> bool:
            return any(
                hold.camera in (None, camera)
                and not (end_us < hold.from_us or end_us - length_us > hold.to_us)
                for hold in holds
            )

        young = limit is None or days <= limit
        recordings |= {key} if young or kept(MINUTE_US) else set()
        tracks |= {track} if young or kept(2_000_000) else set()
    await site.sweeper().round()
    assert await site.recordings() == recordings
    assert await site.objects() == await site.remembered() == tracks
    assert 0 < len(recordings) < 40


# ------------------------------------------------------------ failures


async def test_a_missing_file_is_no_failure(site: Site) -> None:
    keys = [await site.recording(days) for days in (40, 50)]
    (site.folder / "blobs" / "acme" / keys[0]).unlink()
    await site.sweeper(days={"recordings": 30}).round()
    assert await site.recordings() == set()
    (run,) = await site.database.retention("acme").runs()
    assert [(c.removed, c.failures) for c in run.counts] == [(2, 0)]


async def test_a_file_that_cannot_be_removed_keeps_its_row_and_no_other(
    site: Site, stuck: Stuck
) -> None:
    keys = [await site.recording(60 - n) for n in range(20)]
    stuck.refused = frozenset({keys[3]})
    sweeper = site.sweeper(days={"recordings": 30})
    await sweeper.round()
    assert await site.recordings() == site.files() == {keys[3]}
    (run,) = await site.database.retention("acme").runs()
    assert (run.complete, [(c.removed, c.failures) for c in run.counts]) == (False, [(19, 1)])
    stuck.refused = frozenset()
    await sweeper.round()
    assert await site.recordings() == site.files() == set()


async def test_many_that_cannot_be_removed_do_not_stand_in_the_way(
    site: Site, stuck: Stuck
) -> None:
    keys = [await site.recording(60 - n) for n in range(20)]
    # As many as are tried at once, and the oldest.
    stuck.refused = frozenset(keys[:8])
    other = await site.recording(40, camera="yard")
    sweeper = site.sweeper(days={"recordings": 30})
    await sweeper.round()
    assert await site.recordings() == {*keys, other}
    await sweeper.round()
    assert await site.recordings() == set(keys[:8])
    stuck.refused = frozenset()
    await sweeper.round()
    assert await site.recordings() == site.files() == set()


async def test_a_tenant_that_fails_stops_no_other(site: Site) -> None:
    for tenant in ("acme", "globex"):
        await site.recording(40, tenant)
    await site.blobs["acme"].aclose()  # its threads are gone: every call fails
    await site.sweeper(days={"recordings": 30}).round()
    assert len(await site.recordings("acme")) == 1
    assert await site.recordings("globex") == set()
    (run,) = await site.database.retention("acme").runs()
    assert not run.complete
    # The recording, and the search for those without a row.
    assert [(c.removed, c.failures) for c in run.counts] == [(0, 2)]
    assert run.error.startswith("recordings: the blob storage cannot be used")
    # Later it works again.
    shutil.rmtree(site.folder / "blobs" / "acme")
    site.blobs["acme"] = TenantBlobs(f"file://{site.folder}/blobs", "acme")
    await site.sweeper(days={"recordings": 30}).round()
    assert await site.recordings("acme") == set()


class Away:
    """A memory that cannot be reached."""

    async def remove(self, camera: str, window: Window, limit: int) -> int:
        raise UnavailableError("The memory is not available right now.")


async def test_an_object_stays_until_its_vector_could_be_removed(site: Site) -> None:
    track = await site.seen_object(40)
    days = {"objects": 30}
    await site.sweeper(days=days, memory=lambda _: Away()).round()
    assert await site.objects() == {track}
    assert await site.remembered() == {track}
    await site.sweeper(days=days).round()
    assert await site.objects() == await site.remembered() == set()


async def test_many_go_in_small_steps(site: Site) -> None:
    tracks = [await site.seen_object(40 + n / 1_000) for n in range(150)]
    assert len(tracks) == len(await site.objects())
    assert not await site.sweeper(days={"objects": 30, "paths": 30}).round()
    assert await site.objects() == await site.remembered() == await site.paths() == set()
    assert site.files() == set()


async def test_clips_without_their_alarm_and_tables_of_jobs_go(site: Site) -> None:
    alarm = await site.alarm(40)
    await site.database.expiry("acme").remove_alarms([alarm.id])
    for key in clip_keys(alarm.id):
        site.age_file("acme", key, site.at_us(40))
    old, young = site.at_us(31), site.at_us(30)
    for start_us in (old, young):
        await site.blobs["acme"].put(f"detections/gate/{start_us}-00ff.parquet", b"boxes")
    await site.blobs["acme"].put("clips/notes.txt", b"not ours")
    await site.sweeper(days={"clips": 30, "paths": 30}).round()
    assert site.files() == {
        f"alarms/{alarm.id}.jpg",
        f"detections/gate/{young}-00ff.parquet",
        "clips/notes.txt",
    }


@pytest.mark.parametrize("limits", [{"snapshots": 30}, {"alarms": 30, "objects": 30}])
async def test_pictures_without_a_row_go_too(site: Site, limits: dict[str, int]) -> None:
    alarm, track = await site.alarm(29, clip=False), await site.seen_object(29)
    seen = object_snapshot_key("gate", track)
    lost = [f"alarms/{uuid4()}.jpg", object_snapshot_key("gate", "lost"), "objects/shed/0f.jpg"]
    young = [f"alarms/{uuid4()}.jpg", object_snapshot_key("gate", "young")]
    for key in (*lost, *young):
        await site.blobs["acme"].put(key, b"a picture")
    for key in (*lost, seen, f"alarms/{alarm.id}.jpg"):
        site.age_file("acme", key, site.at_us(31))
    for key in young:
        site.age_file("acme", key, site.at_us(29))
    sweeper = site.sweeper(days=limits)
    await sweeper.round()
    assert site.files() == {seen, f"alarms/{alarm.id}.jpg", *young}
    # They are looked for once a day.
    for key in young:
        site.age_file("acme", key, site.at_us(31))
    site.clock.advance(3_600)
    await sweeper.round()
    assert set(young) <= site.files()
    site.clock.advance(82_801)
    await sweeper.round()
    assert not set(young) & site.files()


async def test_a_hold_on_all_cameras_keeps_pictures_without_a_row(site: Site) -> None:
    key = f"alarms/{uuid4()}.jpg"
    await site.blobs["acme"].put(key, b"a picture")
    site.age_file("acme", key, site.at_us(40))
    span = HeldSpan(None, site.at_us(41), site.at_us(39))
    await site.database.retention("acme").add_hold(span, "a case", "key:k1")
    await site.sweeper(days={"snapshots": 30}).round()
    assert site.files() == {key}


async def test_a_tenant_with_much_to_remove_holds_up_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.retention.sweeper.MAX_STEPS", 2)
    for n in range(200):
        await site.recording(40 + n / 1_000)
    await site.recording(40, "globex")
    sweeper = site.sweeper(days={"recordings": 30})
    # Two steps of 64 files, then the run is over, and the next one follows soon.
    assert await sweeper.round()
    assert len(await site.recordings("acme")) == 72
    assert await site.recordings("globex") == set()
    complete = {
        tenant: (await site.database.retention(tenant).runs())[0].complete
        for tenant in ("acme", "globex")
    }
    assert complete == {"acme": False, "globex": True}
    site.clock.advance(5)
    await sweeper.round()
    site.clock.advance(5)
    assert not await sweeper.round()
    assert await site.recordings("acme") == site.files("acme") == set()
    removed = [
        run.counts[0].removed for run in await site.database.retention("acme").runs() if run.counts
    ]
    assert removed == [72, 128]


@pytest.mark.parametrize("data", [b"{", b"{}"])
async def test_a_broken_manifest_stays_and_is_counted(site: Site, data: bytes) -> None:
    made = await site.export(40)
    await site.blobs["acme"].put(manifest_key(made), data)
    site.age_file("acme", manifest_key(made), site.at_us(40))
    await site.export(41)
    await site.sweeper(days={"exports": 30}).round()
    assert site.files() == {manifest_key(made)}
    (run,) = await site.database.retention("acme").runs()
    assert [(c.removed, c.failures) for c in run.counts] == [(1, 1)]
