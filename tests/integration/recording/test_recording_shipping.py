"""Shipping from the outbox to storage and database: no outage loses a file."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest
from redis.asyncio import Redis

from cluster.recording.segment import VideoUnit
from cluster.recording.shipper import blob_key
from cluster.recording.tags import Tags
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import open_redis
from cluster.stores.bus.keys import alarms_key
from pipelines.domain import CameraKey, Segment
from pipelines.errors import NotFoundError
from tests.factories import make_alarm
from tests.integration.conftest import ValkeyServer
from tests.integration.recording.recording_process import LOOP_US, SEGMENT_S, stream
from tests.integration.recording.site import GRACE_S, ON_ALARM, S, Site, open_site
from tests.unit.cluster.recording.test_recording_segment import START_US


@pytest.fixture
async def site(tmp_path: Path, redis_client: Redis) -> AsyncIterator[Site]:
    async with open_site(tmp_path, f"file://{tmp_path}/blobs", redis_client) as site:
        yield site


def test_segment_keys_use_the_utc_date() -> None:
    midnight_us = 1_798_761_600 * S  # 2027-01-01
    assert blob_key("gate", midnight_us - 1) == f"recordings/gate/2026/12/31/{midnight_us - 1}.mp4"
    assert blob_key("gate", midnight_us) == f"recordings/gate/2027/01/01/{midnight_us}.mp4"


async def test_a_file_is_stored_and_entered_and_leaves_the_disk(site: Site) -> None:
    expected = site.record(Tags(masked=True, note="sound left out"))
    (content,) = [path.read_bytes() for path in site.outbox.folder.glob("*/*/*")]
    assert await site.shipper.round()
    (row,) = await site.rows()
    assert row == replace_model(expected, masked=True, note="sound left out")
    assert await site.stored(row) == content
    assert site.files == []
    assert site.shipper.counts == {"shipped": 1}


def replace_model(segment: Segment, **changes: object) -> Segment:
    return Segment.model_validate({**segment.model_dump(), **changes})


async def test_without_an_alarm_a_file_waits_and_is_dropped(site: Site) -> None:
    expected = site.record(ON_ALARM)
    end_us = expected.end_us
    # Alarms of another camera, or of another tenant's camera of the same name, do not count.
    await site.database.platform().ensure_tenant("globex", "Globex")
    other = make_alarm(stages={"capture_us": end_us}, camera="yard")
    theirs = make_alarm(tenant="globex", stages={"capture_us": end_us})
    await site.database.tenant("acme").record_alarms([other])
    await site.database.tenant("globex").record_alarms([theirs])
    assert await site.shipper.round()
    assert len(site.files) == 1
    site.clock.advance((end_us - START_US) / S + 5 + GRACE_S - 0.001)
    assert await site.shipper.round()
    assert len(site.files) == 1
    site.clock.advance(0.002)
    assert await site.shipper.round()
    assert site.files == []
    assert await site.rows() == []
    assert site.shipper.counts == {"let_go": 1}


@pytest.mark.parametrize("seconds", [-10.0, 0.5, 6.3])
async def test_with_an_alarm_a_file_is_kept(site: Site, seconds: float) -> None:
    expected = site.record(ON_ALARM)
    assert await site.shipper.round()
    assert len(site.files) == 1
    # The alarm reaches the database while the file waits.
    at_us = START_US + round(seconds * S)
    await site.database.tenant("acme").record_alarms([make_alarm(stages={"capture_us": at_us})])
    site.clock.advance(60)
    assert await site.shipper.round()
    assert await site.rows() == [expected]
    assert site.files == []


async def test_while_storage_is_down_files_wait_and_the_reason_is_reported(site: Site) -> None:
    blobs = site.folder / "blobs"
    blobs.write_text("no folder")
    expected = [site.record(loop=n) for n in range(6)]
    useless = site.record(ON_ALARM, loop=7)
    assert not await site.two_rounds(60)
    assert site.shipper.problem
    # Meanwhile, unneeded files do not fill the disk.
    assert sorted(site.files) == [f"{segment.start_us}.mp4" for segment in expected]
    assert f"{useless.start_us}.mp4" not in site.files
    assert await site.rows() == []
    blobs.unlink()
    assert await site.shipper.round()
    assert site.shipper.problem == ""
    assert await site.rows() == expected
    assert site.files == []


async def test_while_the_database_is_down_no_file_is_decided_on_or_lost(site: Site) -> None:
    kept, judged = site.record(), site.record(ON_ALARM, loop=2)
    site.clock.advance(60)
    database = site.folder / "atalaia.db"
    await site.database.aclose()
    shutil.move(database, site.folder / "away")
    assert not await site.shipper.round()
    assert site.shipper.problem
    assert len(site.files) == 2
    await site.database.aclose()
    shutil.move(site.folder / "away", database)
    at_us = judged.start_us
    await site.database.tenant("acme").record_alarms([make_alarm(stages={"capture_us": at_us})])
    assert await site.shipper.round()
    assert await site.rows() == [kept, judged]
    assert site.files == []


async def test_while_alarms_are_held_up_no_file_is_dropped(
    tmp_path: Path, start_valkey: Callable[[], ValkeyServer]
) -> None:
    """Redis goes down before the alarm of a file is sent, and comes back a minute later. The host
    has the alarm on its disk and sends it then."""
    server = start_valkey()
    redis = open_redis(server.url)
    async with open_site(tmp_path, f"file://{tmp_path}/blobs", redis) as site:
        judged, useless = site.record(ON_ALARM), site.record(ON_ALARM, loop=40)
        await site.shipper.round()
        server.kill()
        assert await site.two_rounds(200)  # files wait, but nothing needs an immediate retry
        assert len(site.files) == 2
        assert site.shipper.problem == "alarms do not reach the database."
        server.start()
        assert await site.two_rounds(GRACE_S - 1)
        assert site.shipper.problem == ""
        assert len(site.files) == 2
        alarm = make_alarm(stages={"capture_us": judged.start_us})
        await site.database.tenant("acme").record_alarms([alarm])
        assert await site.two_rounds(2)
        assert await site.rows() == [judged]
        assert site.files == []
        assert site.shipper.counts == {"shipped": 1, "let_go": 1}
        assert useless.blob != judged.blob
    await redis.aclose()


async def test_while_alarms_are_not_stored_no_file_is_dropped(
    site: Site, redis_client: Redis
) -> None:
    """Redis has the alarm, but the listener that stores alarms is not running."""
    judged = site.record(ON_ALARM)
    alarm = make_alarm(stages={"capture_us": judged.start_us})
    await redis_client.xadd(alarms_key("acme"), {"alarm": "…"}, id="1000-0")  # long ago
    assert await site.two_rounds(200)
    assert len(site.files) == 1
    assert site.shipper.problem
    await redis_client.delete(alarms_key("acme"))  # as the listener does after storing it
    await site.database.tenant("acme").record_alarms([alarm])
    assert await site.two_rounds(GRACE_S)
    assert site.shipper.problem == ""
    assert await site.rows() == [judged]


async def test_repeated_shipping_changes_nothing(site: Site) -> None:
    expected = site.record()
    assert await site.shipper.round()
    assert site.record() == expected
    assert await site.shipper.round()
    assert await site.rows() == [expected]
    assert len(await site.stored(expected)) == expected.size


async def test_files_of_an_erased_tenant_are_refused(site: Site) -> None:
    site.record(key=CameraKey("nobody", "gate"))
    kept = site.record()
    assert await site.shipper.round()
    assert site.files == []
    assert site.shipper.counts == {"refused": 1, "shipped": 1}
    assert await site.rows() == [kept]
    async with TenantBlobs(site.url, "nobody") as blobs:
        with pytest.raises(NotFoundError):
            await blobs.get(kept.blob)


@pytest.mark.parametrize(("encoder", "codec"), [("libx264", "h264"), ("libx265", "hevc")])
async def test_a_killed_recorder_loses_no_complete_fragment(
    site: Site, encoder: str, codec: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.recording.recording_process"),
        *(str(site.folder / "outbox"), encoder, codec),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    loops = 0
    while loops < 8:
        loops = int(await process.stdout.readline()) + 1
    process.send_signal(signal.SIGKILL)
    await process.wait()

    assert await asyncio.to_thread(site.outbox.adopt) >= 2
    assert await site.shipper.round()
    rows = await site.rows()
    assert site.files == []
    assert all(row.codec == codec for row in rows)
    captures = []
    for row in rows:
        assert row.end_us - row.start_us <= (SEGMENT_S + 1.5) * S
        with av.open(io.BytesIO(await site.stored(row))) as container:
            times = [row.origin_us + (f.pts or 0) for f in container.decode(video=0)]
        assert len(times) == row.frames
        captures += times
    # Every frame of the stream from the first on, without gaps, at its microsecond.
    sent = [unit.capture_us for n in range(loops + 50) for unit in stream_times(encoder, n)]
    assert captures == sent[: len(captures)]
    # Everything written before the kill is there, except for the GOP being written.
    assert captures[-1] >= START_US + loops * LOOP_US - 2 * S


_first: dict[str, list[VideoUnit]] = {}


def stream_times(encoder: str, loop: int) -> list[VideoUnit]:
    """`stream`, encoded once."""
    first = _first.setdefault(encoder, stream(encoder, 0))
    return [replace(unit, capture_us=unit.capture_us + loop * LOOP_US) for unit in first]


async def test_a_full_disk_costs_only_what_did_not_fit(
    tmp_path: Path,
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.recording.full_disk_process", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    seen = json.loads(output.decode().splitlines()[-1])
    assert process.returncode == 0
    assert any("cannot be written" in reason for reason in seen["reasons"])
    assert 0 < seen["dropped"] < seen["sent"] / 2
    assert len(seen["files"]) >= 2
    for path, frames in seen["files"]:
        with av.open(path) as container:
            assert len(list(container.decode(video=0))) == frames
    # Frames of an abandoned fragment are lost. Most frames are there.
    assert sum(frames for _, frames in seen["files"]) > seen["sent"] / 2
