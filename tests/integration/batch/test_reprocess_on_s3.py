"""A job over the videos in a bucket, with its tables and images in another folder of it.

Ray's processes find server and keys where an operator puts them: in the environment of the node.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.core.settings import BatchSettings, BlobSettings, Settings
from cluster.stores.db import Database
from pipelines.errors import UnavailableError
from tests.integration.batch.conftest import DETECTOR, data_folder
from tests.integration.batch.world import (
    START_US,
    record,
    recorded,
    rows,
    run,
)
from tests.integration.blobs.conftest import fresh_connections, point_at, versitygw
from tests.integration.blobs.world import ACCESS, SECRET, S3Server
from tests.integration.serve.conftest import ray_running

__all__ = ["versitygw"]

pytestmark = pytest.mark.timeout(300)

S = 1_000_000
PART_S = 15
"""Of the video's thirty seconds. The whole video is tested on a local folder."""


@pytest.fixture(scope="module")
def site(versitygw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server, and a Ray whose processes are configured for it."""
    server = S3Server(versitygw, tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        with pytest.MonkeyPatch.context() as patch, fresh_connections():
            point_at(server, patch)
            with ray_running():
                yield server
    finally:
        server.stop()


@pytest.fixture
def settings(tmp_path: Path, model_cache: Path, site: S3Server) -> Settings:
    return Settings(
        data_dir=data_folder(tmp_path, model_cache),
        blobs=BlobSettings(url=site.url),
        batch=BatchSettings(chunk_s=10),
        detector=DETECTOR,
    )


@pytest.fixture
def broken(video: Path, tmp_path: Path) -> Path:
    """The middle of a video."""
    path = tmp_path / "broken.mp4"
    path.write_bytes(video.read_bytes()[1000:5000])
    return path


async def test_videos_in_a_bucket_are_analysed_once(
    settings: Settings,
    database: Database,
    site: S3Server,
    video: Path,
    broken: Path,
) -> None:
    """A dry run, then a real run, then a repeated one. One file is broken."""
    site.put("videos/a-broken.mp4", broken)
    site.put("videos/gate.mp4", video)
    site.put("videos/notes.txt", broken)
    given = site.objects()
    fields = {"files": (f"s3://{site.bucket}/videos/*.mp4",), "start_us": START_US}

    tried = await run(settings, **fields, to_us=START_US + 3 * S, dry_run=True)
    assert site.objects() == given
    assert await recorded(database) == []

    fields["to_us"] = START_US + PART_S * S
    done = await run(settings, **fields)
    for summary, seconds in ((tried, 3), (done, PART_S)):
        assert [file.name for file in summary.rejected] == ["a-broken.mp4"]
        assert (summary.sources, summary.problems) == (1, ())
        assert 4.5 * seconds <= summary.looked <= 5.5 * seconds
    alarms = await recorded(database)
    assert len(alarms) == done.new_alarms == sum(done.alarms.values()) > 0

    made = {key: data for key, data in site.objects().items() if key not in given}
    tables = [data for key, data in made.items() if key.endswith(".parquet")]
    assert len(tables) == done.chunks == 2
    assert all(key.startswith("site/acme/") for key in made)
    for key, data in made.items():
        if key.endswith(".parquet"):
            assert key.startswith("site/acme/detections/gate/")
            assert pq.read_table(io.BytesIO(data)).num_rows > 0
    for found in alarms:
        assert made[f"site/acme/{found.alarm.snapshot}"].startswith(b"\xff\xd8")

    before = await rows(database)
    again = await run(settings, **fields)
    assert (again.reused, again.new_alarms, again.core_s) == (done.chunks, 0, 0.0)
    assert again.alarms == done.alarms
    assert await rows(database) == before
    assert site.objects().keys() == given.keys() | made.keys()


async def test_recordings_in_a_bucket_are_reprocessed_once_it_exists(
    settings: Settings, database: Database, site: S3Server, video: Path, tmp_path: Path
) -> None:
    segments = await record(video, settings, database, tmp_path, 15.0)
    site.kill()
    try:
        with pytest.raises(UnavailableError, match="EndpointConnectionError") as caught:
            await run(settings)
    finally:
        site.start()
    for secret in (ACCESS, SECRET, "s3://", site.address):
        assert secret not in str(caught.value)
    assert await recorded(database) == []

    begin_us = segments[1].start_us  # the second file, and what the rules must know of the first
    summary = await run(settings, from_us=begin_us, to_us=begin_us + 3 * S, dry_run=True)
    assert (summary.sources, summary.problems) == (2, ())
    assert summary.looked > 15
