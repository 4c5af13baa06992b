"""The clock is set while cameras are recorded: no file takes another's place, and none that belongs
to an alarm is dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cluster.recording.outbox import SegmentOutbox
from cluster.recording.tags import Tags
from tests.factories import make_alarm
from tests.integration.recording.site import GATE, GRACE_S, ON_ALARM, Site, open_site
from tests.unit.cluster.recording.test_recording_segment import START_US

HOUR_S = 3_600.0
AGAIN = Tags(note="after the clock was set back")


@pytest.fixture
async def site(tmp_path: Path, redis_client: Redis) -> AsyncIterator[Site]:
    async with open_site(tmp_path, f"file://{tmp_path}/blobs", redis_client) as site:
        yield site


async def test_two_files_that_begin_at_the_same_time_are_both_kept(site: Site) -> None:
    """As where the clock goes back and the bridge is started again: also while the first still
    waits, and shipping one of them again changes nothing."""
    first, waiting = site.record(), site.record(AGAIN)
    assert len(site.files) == 2
    assert await site.shipper.round()
    later = site.record(Tags(note="a third one"))
    assert await site.shipper.round()
    rows = await site.rows()
    assert [row.start_us - START_US for row in rows] == [0, 1, 2]
    assert {row.sha256 for row in rows} == {first.sha256, waiting.sha256, later.sha256}
    assert len({row.blob for row in rows}) == 3
    assert {len(await site.stored(row)) for row in rows} == {row.size for row in rows}
    # Capture time of the frames is that of the file, whatever its name.
    assert {row.origin_us for row in rows} == {START_US}
    site.record(AGAIN)
    assert await site.shipper.round()
    assert await site.rows() == rows


async def test_an_original_does_not_come_back_after_masks_were_painted_into_it(site: Site) -> None:
    """Its bridge was killed between the row and the removal from the disk, and the next one ships
    it again."""
    site.record()
    assert await site.shipper.round()
    [shipped] = await site.rows()
    painted = shipped.model_copy(
        update={"masked": True, "masks_us": START_US, "sha256": "f" * 64, "blob": "recordings/p"}
    )
    assert await site.database.remasking("acme").replace(shipped, painted)
    site.record()
    assert await site.shipper.round()
    assert site.files == []
    assert await site.rows() == [painted]


async def test_adopted_files_take_nobodys_place(site: Site, tmp_path: Path) -> None:
    """Two bridges died one after the other, and each left a file of the same time."""
    site.record()
    other = SegmentOutbox(tmp_path / "outbox", 1 << 30)
    dead, site.outbox = site.outbox, other
    site.record(AGAIN)
    other.close()
    dead.close()
    heir = SegmentOutbox(tmp_path / "outbox", 1 << 30)
    assert heir.adopt() == 2
    waiting = heir.waiting()
    assert len({pending.file.path for pending in waiting}) == 2
    assert {pending.file.tags.note for pending in waiting} == {"", AGAIN.note}
    assert [pending.key for pending in waiting] == [GATE, GATE]
    heir.close()
    site.outbox = dead


@pytest.mark.parametrize("set_s", [HOUR_S, -HOUR_S])
async def test_a_file_waits_for_its_alarm_although_the_clock_was_set(
    site: Site, set_s: float
) -> None:
    expected = site.record(ON_ALARM)
    assert await site.shipper.round()
    site.clock.advance(1)
    site.clock.set_utc(set_s)
    assert await site.shipper.round()
    assert len(site.files) == 1
    # Within its grace the alarm arrives, with the time that its frame had.
    site.clock.advance(GRACE_S - 1)
    await site.database.tenant("acme").record_alarms([make_alarm(stages={"capture_us": START_US})])
    assert await site.shipper.round()
    site.clock.advance(GRACE_S + abs(set_s))
    assert await site.shipper.round()
    assert await site.rows() == [expected]


async def test_without_an_alarm_it_goes_after_the_clock_was_set_ahead(site: Site) -> None:
    site.record(ON_ALARM)
    assert await site.shipper.round()
    site.clock.set_utc(HOUR_S)
    assert await site.shipper.round()
    site.clock.advance(GRACE_S - 0.001)
    assert await site.shipper.round()
    assert len(site.files) == 1
    site.clock.advance(0.002)
    assert await site.shipper.round()
    assert site.files == []
