"""Files without a row are looked through to the end, whatever lies before them, and nothing keeps
the sweeper busy that does not go."""

from __future__ import annotations

from uuid import UUID

import pytest

from cluster.clips.clips import clip_key
from cluster.clips.exports import manifest_key
from cluster.recording.shipper import blob_key
from cluster.recording.strays import painted_key
from cluster.retention.sweeper import Sweeper
from pipelines.domain import Segment
from pipelines.retention import HeldSpan, RetentionKind, RetentionPolicy
from tests.integration.retention.site import Site, Stuck

K = RetentionKind


async def _rounds(sweeper: Sweeper, number: int) -> list[bool]:
    """Several runs, and whether each wants the next one soon."""
    return [await sweeper.round() for _ in range(number)]


async def _old_clips(site: Site, ids: list[int]) -> list[str]:
    """Clips of alarms that are not kept, 40 days old; a number is the beginning of an id."""
    keys = [clip_key(UUID(int=id << 112), "mp4") for id in ids]
    for key in keys:
        await site.blobs["acme"].put(key, b"a clip")
        site.age_file("acme", key, site.at_us(40))
    return keys


async def test_what_stays_does_not_stand_in_the_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.retention.sweeper.MAX_LOOKS", 2)
    monkeypatch.setattr("cluster.retention.listed._MANIFESTS", 8)
    # A limit of one camera makes all manifests worth a look; those of the other stay.
    policy = RetentionPolicy(days={K.PATHS: 30, K.EXPORTS: 365}, cameras={"gate": {K.EXPORTS: 1}})
    await site.database.retention("acme").set_policy(policy, "key:k1")
    stays = {manifest_key(await site.export(10 + n / 100, camera="yard")) for n in range(40)}
    goes = {manifest_key(await site.export(10 + n / 100)) for n in range(4)}
    table = f"detections/gate/{site.at_us(100)}-00ff.parquet"
    await site.blobs["acme"].put(table, b"boxes")
    sweeper = site.sweeper()
    # 44 manifests, 8 in a step, at most two steps of a run that remove nothing, one of the table.
    soon = await _rounds(sweeper, 6)
    assert site.files() == stays
    assert not goes & site.files()
    assert soon == [False] * 6


async def test_the_last_of_many_clips_is_reached(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.retention.sweeper.MAX_LOOKS", 3)
    monkeypatch.setattr("cluster.retention.listed._IDS", 4)
    monkeypatch.setattr("cluster.stores.blobs.tenant.PAGE", 9)
    for n in range(60):
        await site.blobs["acme"].put(clip_key(UUID(int=n << 112), "mp4"), b"young")
    old = await _old_clips(site, [0xFFFF])
    sweeper = site.sweeper(days={"clips": 30})
    # 61 clips, eight in a page, four in a step, three steps in a run.
    soon = await _rounds(sweeper, 5)
    assert old[0] in site.files()
    soon += await _rounds(sweeper, 1)
    assert old[0] not in site.files()
    assert len(site.files()) == 60
    assert not any(soon)
    # And again from the beginning.
    again = await _old_clips(site, [0x0001])
    await _rounds(sweeper, 1)
    assert again[0] not in site.files()


async def test_only_a_run_that_removed_all_it_may_is_followed_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.retention.sweeper.MAX_STEPS", 2)
    monkeypatch.setattr("cluster.retention.listed._IDS", 4)
    await _old_clips(site, list(range(12)))
    sweeper = site.sweeper(days={"clips": 30})
    assert await _rounds(sweeper, 2) == [True, False]
    assert site.files() == set()


async def test_files_that_cannot_be_removed_stop_no_kind(site: Site, stuck: Stuck) -> None:
    bad = await _old_clips(site, list(range(16)))
    good = await _old_clips(site, [0x1000 * digit + n for digit in (2, 9, 15) for n in range(20)])
    stuck.refused = frozenset(bad)
    sweeper = site.sweeper(days={"clips": 30})
    # Each of the first two runs gives up at eight of them.
    await _rounds(sweeper, 3)
    assert site.files() == set(bad)
    complete = [run.complete for run in site.seen.runs if run.counts]
    assert complete == [False] * 3
    stuck.refused = frozenset()
    await _rounds(sweeper, 2)
    assert site.files() == set()
    assert len(good) == 60


@pytest.mark.parametrize("unreadable", [1, 3, 12])
async def test_manifests_that_cannot_be_read_stop_no_other(
    site: Site, stuck: Stuck, unreadable: int
) -> None:
    keys = sorted([manifest_key(await site.export(10 + n / 100)) for n in range(20)])
    stuck.unreadable = frozenset(keys[2 : 2 + unreadable])
    sweeper = site.sweeper(days={"exports": 1})
    await _rounds(sweeper, 2)
    assert site.files() == set(stuck.unreadable)
    assert not site.seen.runs[-2].complete
    stuck.unreadable = frozenset()
    await _rounds(sweeper, 2)
    assert site.files() == set()


async def test_recordings_without_a_row_go_when_they_are_old(site: Site) -> None:
    """Two that are old enough, of a camera that is there and of one that was removed; and all that
    stays: one with a row, one that is younger, one that was stored today, one that is held."""
    policy = RetentionPolicy(days={K.RECORDINGS: 30})
    retention = site.database.retention("acme")
    await retention.set_policy(policy, "key:k1")
    blobs = site.blobs["acme"]

    async def stray(days_ago: float, camera: str = "gate", *, stored: float | None = None) -> str:
        key = blob_key(camera, site.at_us(days_ago))
        await blobs.put(key, b"a recording")
        site.age_file("acme", key, site.at_us(days_ago if stored is None else stored))
        return key

    goes = {await stray(40), await stray(35, "gone")}
    kept_us = site.at_us(31)
    await retention.add_hold(HeldSpan("yard", kept_us, kept_us), "case 7", "key:k1")
    stays = {await stray(20), await stray(40.01, stored=0.5), await stray(31, "yard")}
    sweeper = site.sweeper()
    await sweeper.round()
    assert site.files() == stays
    assert not goes & stays
    [count] = site.seen.runs[0].counts
    assert (count.kind, count.removed, count.bytes) == (K.RECORDINGS, 2, 2 * len(b"a recording"))
    # Once a day: the storage is not listed at each run.
    late = await stray(50)
    await sweeper.round()
    assert late in site.files()
    site.clock.advance(86_400)
    await sweeper.round()
    assert late not in site.files()


async def test_a_recording_with_a_row_is_not_taken_for_one_without(site: Site) -> None:
    """One that ended within the limit, beside the original from before its masks."""
    policy = RetentionPolicy(days={K.RECORDINGS: 30})
    await site.database.retention("acme").set_policy(policy, "key:k1")
    start_us = site.at_us(40)
    key = painted_key(blob_key("gate", start_us), "ab" * 32)
    segment = Segment(
        camera="gate", start_us=start_us, end_us=site.at_us(1), origin_us=start_us, codec="h264",
        width=640, height=360, frames=1, size=3, sha256="ab" * 32, blob=key, masked=True,
    )  # fmt: skip
    await site.database.recordings("acme").add(segment)
    for each in (key, segment.blob, blob_key("gate", start_us)):
        await site.blobs["acme"].put(each, b"abc")
        site.age_file("acme", each, start_us)
    await site.sweeper().round()
    assert site.files() == {key}
