"""Video files in a bucket: found, read in ranges, and never taken for shorter than they are."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from cluster.batch.remote import BrokenVideoError
from cluster.batch.sources import find_files, of_files
from cluster.batch.video import ReadStats, chunk_frames, frames_from, media_us, probe
from cluster.stores.blobs.storage import BLOCK_BYTES
from pipelines.errors import InputError, UnavailableError
from tests.integration.blobs.world import ACCESS, SECRET, S3Server

FRAMES, STEP_US, SIZE = 125, 40_000, (640, 360)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds that cannot be compressed: 37 MB."""
    path = tmp_path_factory.mktemp("noise") / "noise.mkv"
    generator = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        for _ in range(FRAMES):
            pixels = generator.integers(0, 256, (SIZE[1] * 3 // 2, SIZE[0]), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "yuvj420p")))
        container.mux(stream.encode(None))
    return path


def assert_silent(server: S3Server, error: Exception) -> None:
    for secret in (ACCESS, SECRET, server.address, "None"):
        assert secret not in str(error)


def test_a_file_is_read_where_it_is_looked_at(s3: S3Server, noise: Path) -> None:
    size = noise.stat().st_size
    assert size > 8 * BLOCK_BYTES
    url = s3.put("gate/noise.mkv", noise)
    before = s3.sent_bytes
    facts = probe(url)
    assert (facts.first_us, facts.duration_us) == (0, FRAMES * STEP_US)
    # Ahead of its first picture libav looks at the index behind the last one.
    assert s3.sent_bytes - before < 4 * BLOCK_BYTES
    before = s3.sent_bytes
    wanted_us = 4_000_000
    frames = frames_from(url, wanted_us, ReadStats())
    assert any(media_us(frame) == wanted_us for frame in frames)
    assert s3.sent_bytes - before < size / 2


def test_all_of_it_is_there(s3: S3Server, noise: Path) -> None:
    url = s3.put("gate/noise.mkv", noise)
    seen = [media_us(frame) for _, frame in chunk_frames(url, None, None, ReadStats())]
    assert seen == [number * STEP_US for number in range(FRAMES)]


def test_a_storage_that_goes_away_is_not_the_end_of_the_file(frail: S3Server, noise: Path) -> None:
    """Its table would be kept, and the rest of the file never looked at."""
    url = frail.put("gate/noise.mkv", noise)
    frames = chunk_frames(url, None, None, ReadStats())
    for _ in range(10):
        next(frames)
    frail.kill()
    with pytest.raises(UnavailableError) as caught:
        list(frames)
    assert "noise.mkv cannot be read from its storage" in str(caught.value)
    assert_silent(frail, caught.value)


def test_a_storage_that_is_away_is_no_broken_file(frail: S3Server, noise: Path) -> None:
    url = frail.put("gate/noise.mkv", noise)
    frail.kill()
    for call in (lambda: probe(url), lambda: of_files([url]), lambda: find_files(url)):
        with pytest.raises(UnavailableError) as caught:
            call()
        assert_silent(frail, caught.value)


def test_what_was_deleted_meanwhile_is_told(s3: S3Server, noise: Path) -> None:
    url = s3.put("gate/noise.mkv", noise)
    (s3.root / s3.bucket / "gate" / "noise.mkv").unlink()
    with pytest.raises(BrokenVideoError, match="no longer exists"):
        probe(url)
    _, rejected = of_files([url])
    assert [(file.name, file.reason) for file in rejected] == [
        ("noise.mkv", "the file no longer exists.")
    ]


def test_files_are_found_by_name_folder_and_pattern(s3: S3Server, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    for key in ("day/b.mp4", "day/a.MKV", "day/notes.txt", "day/night/c.ts", "other/d.mp4"):
        s3.put(key, path)
    bucket = f"s3://{s3.bucket}"

    def found(pattern: str) -> list[str]:
        return [url.removeprefix(f"{bucket}/") for url in find_files(f"{bucket}/{pattern}")]

    assert found("day/*.mp4") == ["day/b.mp4"]
    assert found("day") == ["day/a.MKV", "day/b.mp4", "day/night/c.ts"]
    assert found("day/") == found("day")
    assert found("*/*.mp4") == ["day/b.mp4", "other/d.mp4"]
    assert found("day/notes.txt") == ["day/notes.txt"]
    for nothing in ("none.mp4", "none/*.mp4", "none"):
        with pytest.raises(InputError, match="there is no video"):
            found(nothing)
    # Nothing of the listing is remembered: a bucket is filled by others, too.
    s3.put("day/e.mp4", path)
    os.unlink(s3.root / s3.bucket / "day" / "b.mp4")
    assert found("day/*.mp4") == ["day/e.mp4"]


@pytest.mark.usefixtures("wrong_secret")
@pytest.mark.parametrize("pattern", ["day/*.mp4", "day", "day/b.mp4"])
def test_without_permission_it_is_not_said_that_nothing_is_there(
    s3: S3Server, pattern: str
) -> None:
    with pytest.raises(UnavailableError, match="cannot be listed: PermissionError") as caught:
        find_files(f"s3://{s3.bucket}/{pattern}")
    assert_silent(s3, caught.value)


def test_credentials_in_a_pattern_are_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match="environment") as caught:
        find_files(f"s3://{ACCESS}:{SECRET}@bucket/*.mp4")
    assert ACCESS not in str(caught.value)
    assert SECRET not in str(caught.value)
