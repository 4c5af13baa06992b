"""From the spool of a bridge into a bucket whose server goes away in between."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from pipelines.domain import CameraKey, Segment
from tests.integration.blobs.world import ACCESS, SECRET, S3Server
from tests.integration.recording.site import GRACE_S, ON_ALARM, Site, open_site


@pytest.fixture
async def site(tmp_path: Path, frail: S3Server, redis_client: Redis) -> AsyncIterator[Site]:
    async with open_site(tmp_path, frail.url, redis_client) as site:
        yield site


async def assert_delivered(site: Site, server: S3Server, expected: list[Segment]) -> None:
    """Each is in the records and in the bucket, once and whole, and nothing else is."""
    assert await site.rows() == expected
    objects = {
        key: hashlib.sha256(content).hexdigest() for key, content in server.objects().items()
    }
    assert objects == {f"site/acme/{segment.blob}": segment.sha256 for segment in expected}
    assert site.files == []
    assert site.shipper.problem == ""


async def test_files_reach_the_bucket(site: Site, frail: S3Server) -> None:
    expected = [site.record(loop=n) for n in range(3)]
    assert await site.shipper.round()
    await assert_delivered(site, frail, expected)


async def test_while_the_server_is_away_files_wait_and_then_all_arrive(
    site: Site, frail: S3Server
) -> None:
    expected = [site.record(loop=0)]
    assert await site.shipper.round()
    frail.kill()
    expected += [site.record(loop=n) for n in range(1, 7)]
    useless = site.record(ON_ALARM, loop=7)
    for wait_s in (GRACE_S + 60, 0):
        assert not await site.two_rounds(wait_s)
        assert site.shipper.problem
        for secret in (ACCESS, SECRET, "s3://", frail.address):
            assert secret not in site.shipper.problem
    # What nobody needs does not fill the disk meanwhile.
    assert sorted(site.files) == [f"{segment.start_us}.mp4" for segment in expected[1:]]
    assert f"{useless.start_us}.mp4" not in site.files
    frail.start()
    assert await site.shipper.round()
    await assert_delivered(site, frail, expected)


async def test_uploads_that_break_off_in_the_middle_are_sent_again(
    site: Site, frail: S3Server
) -> None:
    expected = [site.record(loop=n) for n in range(6)]
    frail.hang()
    sending = asyncio.create_task(site.shipper.round())
    await asyncio.sleep(0.5)
    assert not sending.done()
    frail.kill()
    assert not await sending
    assert len(site.files) == len(expected)
    frail.start()
    assert await site.shipper.round()
    await assert_delivered(site, frail, expected)


async def test_a_delivery_that_is_repeated_changes_nothing(site: Site, frail: S3Server) -> None:
    expected = site.record()
    assert await site.shipper.round()
    assert site.record() == expected
    assert await site.shipper.round()
    await assert_delivered(site, frail, [expected])


async def test_a_bucket_that_somebody_took_away_is_no_reason_to_drop_files(
    site: Site, frail: S3Server
) -> None:
    bucket = frail.root / frail.bucket
    bucket.rename(frail.root / "elsewhere")
    expected = [site.record(loop=n) for n in range(2)]
    assert not await site.shipper.round()
    assert "no such bucket" in site.shipper.problem
    (frail.root / "elsewhere").rename(bucket)
    assert await site.shipper.round()
    await assert_delivered(site, frail, expected)


async def test_a_tenant_that_was_erased_leaves_nothing_behind(site: Site, frail: S3Server) -> None:
    """It is stored before it is entered, and taken back where it may not be."""
    site.record(key=CameraKey("nobody", "gate"))
    kept = site.record()
    assert await site.shipper.round()
    assert site.shipper.counts == {"refused": 1, "shipped": 1}
    await assert_delivered(site, frail, [kept])
