"""What was recorded before a camera had its masks gets them, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg

from cluster.clips.clips import ClipFile, ClipMaker, RecordingPolicy, clip_key
from cluster.clips.scratch import Scratch
from cluster.recording.shipper import segment_of
from cluster.remasking.job import SETTLED_US, Remasked, Remasking, masked_camera
from cluster.stores.db import CameraChanges
from cluster.stores.db.tenant import TenantRecords
from pipelines.domain import CameraKey, Recording, Segment
from pipelines.errors import InputError
from pipelines.retention import HeldSpan
from tests.integration.erasure.place import Killed, Killing, killed_at
from tests.integration.retention.site import Site, Stuck
from tests.recorded import HEIGHT, WIDTH, picture_us, segments_of, units

Luma = npt.NDArray[np.uint8]
S = 1_000_000
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
RIGHT = ((0.75, 0.0), (1.0, 0.0), (1.0, 1.0), (0.75, 1.0))
KEY = CameraKey("acme", "gate")
FRAMES, PER_FILE = 40, 20
# A mask grows by at most three pixels of the half-size planes, and H.264 blurs over a block.
CLEAR = WIDTH // 2 + 16


@pytest.fixture
async def scratch(tmp_path: Path) -> AsyncIterator[Scratch]:
    made = Scratch(tmp_path / "scratch", 1)
    yield made
    made.close()


async def record(site: Site, folder: str, start_us: int, frames: int = FRAMES) -> list[Segment]:
    """Files of the gate, without masks."""
    files = segments_of(site.folder / folder, units(frames, start_us), per_segment=PER_FILE)
    rows = [segment_of("gate", file) for file in files]
    for row, file in zip(rows, files, strict=True):
        await site.blobs["acme"].put_file(row.blob, file.path)
        await site.database.recordings("acme").add(row)
    return rows


async def mask(site: Site, *masks: tuple[tuple[float, float], ...]) -> None:
    await site.database.tenant("acme").update_camera("gate", CameraChanges(masks=masks))


async def remasking(site: Site, scratch: Scratch) -> Remasking:
    return Remasking(
        await masked_camera(site.database, KEY),
        database=site.database,
        blobs=site.blobs["acme"],
        scratch=scratch,
        clock=site.clock,
    )


async def run(site: Site, scratch: Scratch) -> Remasked:
    return await (await remasking(site, scratch)).run()


async def rows(site: Site) -> list[Segment]:
    return await site.database.recordings("acme").between("gate", 0, 2**62, limit=100)


def decoded(data: bytes, origin_us: int) -> list[tuple[int, Luma]]:
    """Capture time and luma, uint8 (height, width), of every picture."""
    with av.open(io.BytesIO(data), "r") as container:
        return [
            (
                origin_us + round((frame.time or 0.0) * S),
                np.asarray(frame.to_ndarray()[:HEIGHT], np.uint8),
            )
            for frame in container.decode(video=0)
        ]


def assert_left_is_black(luma: Luma) -> None:
    """BT.601, limited range: 16 is black, and what the encoder adds is small."""
    assert luma[:, : WIDTH // 2].max() <= 24


def assert_right_is_seen(luma: Luma) -> None:
    assert luma[:, CLEAR:].min() > 30


async def test_every_frame_has_the_mask_at_its_old_time(site: Site, scratch: Scratch) -> None:
    start_us = site.at_us(2)
    before = await record(site, "old", start_us)
    await mask(site, LEFT)
    done = await run(site, scratch)
    assert (done.recordings, done.failed, done.frames_lost) == (2, 0, 0)
    after = await rows(site)
    since_us = (await site.database.tenant("acme").masked_cameras())["gate"]
    assert [(s.start_us, s.end_us) for s in after] == [(s.start_us, s.end_us) for s in before]
    times = []
    for segment in after:
        assert (segment.masked, segment.painted_us) == (True, since_us)
        data = await site.blobs["acme"].get(segment.blob)
        assert len(data) == segment.size
        for at_us, luma in decoded(data, segment.origin_us):
            times.append(at_us)
            assert_left_is_black(luma)
            assert_right_is_seen(luma)
    assert times == [picture_us(start_us, n) for n in range(FRAMES)]
    assert site.files() == {segment.blob for segment in after}
    assert not list((site.folder / "scratch").iterdir())


async def test_what_is_done_is_not_done_again_until_a_mask_is_added(
    site: Site, scratch: Scratch
) -> None:
    await record(site, "old", site.at_us(2))
    await mask(site, LEFT)
    await run(site, scratch)
    first = await rows(site)
    assert (await run(site, scratch)).recordings == 0
    assert await rows(site) == first
    site.clock.advance(60)
    await mask(site, LEFT, RIGHT)
    assert (await run(site, scratch)).recordings == 2
    for segment in await rows(site):
        for _, luma in decoded(await site.blobs["acme"].get(segment.blob), segment.origin_us):
            assert_left_is_black(luma)
            assert luma[:, 3 * WIDTH // 4 :].max() <= 24
    assert len(site.files()) == 2


async def test_killed_at_any_call_it_leaves_the_old_or_the_new_whole(
    site: Site, scratch: Scratch
) -> None:
    originals = {s.start_us: s for s in await record(site, "old", site.at_us(2), PER_FILE)}
    old = {s.blob: await site.blobs["acme"].get(s.blob) for s in originals.values()}
    await mask(site, LEFT)
    calls = 0
    while True:
        calls += 1
        job = await remasking(site, scratch)
        tick = killed_at(calls)
        job._due, job._blobs = Killing(job._due, tick), Killing(job._blobs, tick)
        try:
            await job.run()
        except Killed:
            [row] = await rows(site)
            data = await site.blobs["acme"].get(row.blob)
            if row.masked:
                assert_left_is_black(decoded(data, row.origin_us)[0][1])
            else:
                assert data == old[row.blob]
        else:
            break
    assert calls > 8
    [row] = await rows(site)
    assert row.masked
    # What was left over is old enough later.
    site.clock.advance(2 * SETTLED_US / S)
    for key in site.files():
        site.age_file("acme", key, site.clock.now_us() - 2 * SETTLED_US)
    await run(site, scratch)
    assert site.files() == {row.blob}


async def test_a_legal_hold_keeps_the_original(site: Site, scratch: Scratch) -> None:
    [first, second] = await record(site, "old", site.at_us(2))
    await mask(site, LEFT)
    span = HeldSpan("gate", first.start_us, first.start_us)
    await site.database.retention("acme").add_hold(span, "case 7", "key:k1")
    done = await run(site, scratch)
    assert (done.recordings, done.held) == (1, 1)
    after = await rows(site)
    assert after[0] == first
    assert after[1].masked
    assert first.blob in site.files()
    assert second.blob not in site.files()


async def test_one_bad_file_stops_no_other(site: Site, scratch: Scratch) -> None:
    [changed, _] = await record(site, "old", site.at_us(2))
    await site.blobs["acme"].put(changed.blob, b"something else")
    await mask(site, LEFT)
    done = await run(site, scratch)
    assert (done.recordings, done.failed) == (1, 1)
    assert "changed in storage" in done.reasons[0]
    assert (await rows(site))[0] == changed
    assert await site.blobs["acme"].get(changed.blob) == b"something else"


async def test_an_original_that_cannot_go_goes_later(
    site: Site, stuck: Stuck, scratch: Scratch
) -> None:
    [segment] = await record(site, "old", site.at_us(2), PER_FILE)
    await mask(site, LEFT)
    stuck.refused = frozenset({segment.blob})
    done = await run(site, scratch)
    assert done.failed == 1
    [row] = await rows(site)
    assert row.masked
    stuck.refused = frozenset()
    site.age_file("acme", segment.blob, site.clock.now_us() - 2 * SETTLED_US)
    assert (await run(site, scratch)).superseded == 1
    assert site.files() == {row.blob}


async def test_alarms_get_masks_in_picture_and_clip(site: Site, scratch: Scratch) -> None:
    start_us = site.at_us(2)
    await record(site, "old", start_us)
    alarm = await site.alarm(2 - 0.8 / 86_400, clip=False)
    blobs = site.blobs["acme"]
    white = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    assert alarm.snapshot is not None
    await blobs.put(alarm.snapshot, simplejpeg.encode_jpeg(white, quality=90))
    maker = ClipMaker(scratch, site.clock)
    policy = RecordingPolicy(Recording(pre_roll_s=0.4, post_roll_s=0.4), 1.0)
    made = await maker.clip(alarm, policy, site.database.recordings("acme"), blobs)
    assert made.file is not None
    assert not made.file.masked
    await blobs.put(clip_key(alarm.id, "hidden.mp4"), b"of the clip as it was")
    await mask(site, LEFT)
    done = await run(site, scratch)
    assert (done.pictures, done.clips, done.failed) == (1, 1, 0)
    picture = simplejpeg.decode_jpeg(await blobs.get(alarm.snapshot), colorspace="GRAY")
    assert picture[:, : WIDTH // 2].max() <= 16
    assert picture[:, CLEAR:].min() >= 190
    file = ClipFile.model_validate_json(await blobs.get(clip_key(alarm.id, "clip.json")))
    clip = await blobs.get(clip_key(alarm.id, "mp4"))
    assert (file.masked, file.size, file.span) == (True, len(clip), made.file.span)
    shown = decoded(clip, file.from_us)
    inside = [picture_us(start_us, n) for n in range(FRAMES)]
    assert [at for at, _ in shown] == [at for at in inside if file.from_us <= at < file.to_us]
    for _, luma in shown:
        assert_left_is_black(luma)
    assert clip_key(alarm.id, "hidden.mp4") not in site.files()
    kept = await site.database.tenant("acme").alarm(alarm.id)
    assert kept.masks_us == file.masks_us
    again = await maker.clip(alarm, policy, site.database.recordings("acme"), blobs)
    assert again.file == file
    await maker.aclose()


async def test_an_objects_picture_that_a_mask_touches_goes(site: Site, scratch: Scratch) -> None:
    """Objects of the site are at 0.1 to 0.3 of the frame."""
    track = await site.seen_object(2)
    await mask(site, RIGHT)
    assert (await run(site, scratch)).removed == 0
    tracks = site.database.tracks("acme")
    kept = await tracks.object(track)
    assert kept.sighting.snapshot in site.files()
    assert kept.masks_us is not None
    site.clock.advance(60)
    await mask(site, LEFT)
    assert (await run(site, scratch)).removed == 1
    gone = await tracks.object(track)
    assert gone.sighting.snapshot is None
    assert kept.sighting.snapshot not in site.files()


async def test_a_hold_that_came_later_keeps_a_superseded_original(
    site: Site, stuck: Stuck, scratch: Scratch
) -> None:
    [segment] = await record(site, "old", site.at_us(2), PER_FILE)
    await mask(site, LEFT)
    stuck.refused = frozenset({segment.blob})
    await run(site, scratch)
    stuck.refused = frozenset()
    site.age_file("acme", segment.blob, site.clock.now_us() - 2 * SETTLED_US)
    span = HeldSpan("gate", segment.start_us, segment.end_us)
    await site.database.retention("acme").add_hold(span, "case 7", "key:k1")
    done = await run(site, scratch)
    assert (done.superseded, done.held) == (0, 1)
    assert segment.blob in site.files()


async def test_a_mask_added_while_the_job_reads_them_is_painted_or_due(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes between two reads: masks without the new one never have its time."""
    await mask(site, LEFT)
    for name in ("camera", "masked_cameras"):
        site.clock.advance(60)
        await mask(site, LEFT)
        read = getattr(TenantRecords, name)

        async def then_add(
            self: TenantRecords, *args: str, read: Callable[..., Awaitable[Any]] = read
        ) -> Any:
            found = await read(self, *args)
            monkeypatch.undo()
            site.clock.advance(60)
            await mask(site, LEFT, RIGHT)
            return found

        monkeypatch.setattr(TenantRecords, name, then_add)
        known = await masked_camera(site.database, KEY)
        since_us = (await site.database.tenant("acme").masked_cameras())["gate"]
        assert known.since_us < since_us or known.masks == (LEFT, RIGHT)


async def test_a_camera_without_masks_is_refused(site: Site) -> None:
    with pytest.raises(InputError, match="no privacy masks"):
        await masked_camera(site.database, KEY)


async def test_a_full_disk_leaves_everything_as_it_is(
    site: Site, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await record(site, "old", site.at_us(2))
    await mask(site, LEFT)
    # More than any disk has: as if none of it were free.
    monkeypatch.setattr("cluster.clips.scratch.SPARE_BYTES", 2**60)
    done = await run(site, scratch)
    assert done.failed == len(before)
    assert await rows(site) == before
    assert site.files() == {segment.blob for segment in before}
