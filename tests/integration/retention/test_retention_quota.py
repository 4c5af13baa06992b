"""A tenant that uses more of the storage than it may loses its own oldest recordings, and nobody
else's."""

from __future__ import annotations

from uuid import uuid4

import pytest

from cluster.clips.clips import clip_key
from cluster.stores.db import RemovalCause, StorageUse
from pipelines.retention import HeldSpan, RetentionKind, SpaceState
from tests.integration.retention.site import Site

K = RetentionKind
DAY_S = 86_400


async def _use(site: Site, tenant: str = "acme") -> StorageUse:
    found = await site.database.retention(tenant).storage()
    assert found is not None
    return found


async def test_what_is_used_is_measured(site: Site) -> None:
    await site.recording(5, size=1_000)
    await site.recording(4, camera="yard", size=200)
    await site.seen_object(3)
    await site.alarm(2)
    await site.blobs["acme"].put("detections/gate/17-00ff.parquet", bytes(50))
    await site.blobs["acme"].put("exports/0a.json", bytes(7))
    await site.sweeper().round()
    use = await _use(site)
    # Two pictures, six files of a clip, a table, a manifest.
    files = 2 * len(b"a picture") + 6 * len(b"part of a clip") + 50 + 7
    assert (use.recordings, use.files, use.state) == (1_200, files, SpaceState.OK)
    assert use.measured_us == use.listed_us == site.clock.now_us()
    assert (await _use(site, "globex")).total == 0


async def test_files_are_listed_once_a_day_and_recordings_summed_each_time(site: Site) -> None:
    sweeper = site.sweeper()
    await sweeper.round()
    await site.blobs["acme"].put("exports/0a.json", bytes(7))
    await site.recording(4, size=200)
    site.clock.advance(3_600)
    await sweeper.round()
    use = await _use(site)
    assert (use.recordings, use.files) == (200, 0)
    assert use.measured_us - use.listed_us == 3_600_000_000
    site.clock.advance(DAY_S)
    await sweeper.round()
    assert (await _use(site)).total == 207


async def test_above_the_quota_the_oldest_recordings_of_that_tenant_go(site: Site) -> None:
    near = await site.recording(9, size=1_000)
    await site.alarm(9, clip=False)
    old = [await site.recording(9 - n / 10, camera="yard", size=1_000) for n in range(1, 9)]
    theirs = {await site.recording(20, "globex", size=5_000)}
    picture = len(b"a picture")
    quotas = {"acme": 7_000 + picture, "globex": 4_999}
    hold = HeldSpan(None, site.at_us(21), site.at_us(19))
    await site.database.retention("globex").add_hold(hold, "a case", "key:k1")
    sweeper = site.sweeper(quotas=quotas)
    await sweeper.round()
    # 9,000 bytes, down to 0.95 of 7,000: three, of those without an alarm.
    assert await site.recordings() == {near, *old[3:]}
    use = await _use(site)
    assert (use.recordings, use.files, use.state) == (6_000, picture, SpaceState.REMOVING)
    (run,) = await site.database.retention("acme").runs()
    assert [(c.kind, c.cause, c.removed, c.bytes) for c in run.counts] == [
        (K.RECORDINGS, RemovalCause.QUOTA, 3, 3_000)
    ]
    assert await site.audited("acme", "retention.remove") == [
        {"recordings": 3, "bytes": 3_000, "failures": 0}
    ]
    # What is held stays, however much it is.
    assert await site.recordings("globex") == theirs
    assert (await _use(site, "globex")).state is SpaceState.EXHAUSTED
    site.clock.advance(600)
    await sweeper.round()
    assert (await _use(site)).state is SpaceState.OK
    assert await site.recordings() == {near, *old[3:]}


async def test_what_went_for_its_age_meanwhile_costs_no_recording(site: Site) -> None:
    recording = await site.recording(9, size=1_000)
    clip = clip_key(uuid4(), "mp4")
    await site.blobs["acme"].put(clip, bytes(1_000))
    site.age_file("acme", clip, site.at_us(29.9))
    sweeper = site.sweeper(quotas={"acme": 2_500}, days={"clips": 30})
    await sweeper.round()
    assert (await _use(site)).total == 2_000
    # A few hours later the clip is gone, and there is another recording.
    site.clock.advance(3 * 3_600)
    other = await site.recording(0.1, size=1_000)
    await sweeper.round()
    assert site.files() == {recording, other}
    assert (await _use(site)).total == 2_000


async def test_clips_go_last(site: Site) -> None:
    near = await site.recording(9, size=1_000)
    await site.alarm(9, clip=False)
    clips = [clip_key(uuid4(), "mp4") for _ in range(2)]
    for n, key in enumerate(clips):
        await site.blobs["acme"].put(key, bytes(1_000))
        site.age_file("acme", key, site.at_us(8 - n))
    await site.sweeper(quotas={"acme": 1_100}).round()
    assert near not in site.files()
    assert site.clips() == {clips[1]}
    assert (await _use(site)).total == 1_000 + len(b"a picture")


@pytest.mark.parametrize("spoiled", ["acme", "globex"])
async def test_a_quota_that_cannot_be_kept_stops_no_other(site: Site, spoiled: str) -> None:
    for tenant in ("acme", "globex"):
        await site.recording(9, tenant, size=1_000)
    await site.blobs[spoiled].aclose()  # its threads are gone: every call fails
    await site.sweeper(quotas={"acme": 10, "globex": 10}).round()
    (other,) = {"acme", "globex"} - {spoiled}
    assert await site.recordings(other) == set()
    assert len(await site.recordings(spoiled)) == 1
    assert not (await site.database.retention(spoiled).runs())[0].complete
