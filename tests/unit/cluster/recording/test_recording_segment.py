"""Segments play as written: every frame at its microsecond, even after a kill."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cluster.recording.mp4_boxes import truncate_to_playable
from cluster.recording.segment import SegmentWriter, VideoFormat, VideoUnit
from pipelines.errors import InputError, UnavailableError
from tests.recorded import GOP, encoded

START_US = 1_790_000_000_123_457
WIDTH, HEIGHT, FRAMES = 64, 48, 35
CODECS = [("libx264", "h264", 0), ("libx264", "h264", 2), ("libx265", "hevc", 0)]


def capture_us(n: int) -> int:
    """Capture time of frame n: 25 frames/s with the jitter of a camera's clock."""
    return START_US + 40_000 * n + (n * 7_919) % 311


def grey(n: int) -> int:
    """Grey level of frame n, far enough from its neighbours to survive the codec."""
    return 20 + (n * 37) % 200


def units(encoder: str, b_frames: int) -> list[VideoUnit]:
    """FRAMES frames in decoding order, Annex B; frame n is uniform with level grey(n)."""
    frames = [
        av.VideoFrame.from_ndarray(
            np.full((HEIGHT * 3 // 2, WIDTH), grey(n), np.uint8), format="yuv420p"
        )
        for n in range(FRAMES)
    ]
    return encoded(frames, START_US, encoder=encoder, b_frames=b_frames)


def read(path: Path) -> list[tuple[int, int]]:
    """Time in the file (us) and level of every frame, in presentation order."""
    with av.open(str(path)) as container:
        assert container.streams.video[0].time_base == Fraction(1, 1_000_000)
        return [
            (frame.pts or 0, round(float(frame.to_ndarray()[:HEIGHT].mean())))
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize(("encoder", "codec", "b_frames"), CODECS)
def test_every_frame_keeps_its_microsecond(
    tmp_path: Path, encoder: str, codec: str, b_frames: int
) -> None:
    writer = SegmentWriter(tmp_path / "a.mp4", VideoFormat(codec, WIDTH, HEIGHT))
    for unit in units(encoder, b_frames):
        writer.write(unit)
    done = writer.close()
    assert done is not None
    seen = read(done.path)
    assert [done.origin_us + time for time, _ in seen] == [capture_us(n) for n in range(FRAMES)]
    assert all(abs(level - grey(n)) <= 12 for n, (_, level) in enumerate(seen))
    content = done.path.read_bytes()
    assert (done.size, done.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (done.start_us, done.frames) == (START_US, FRAMES)
    last, before = capture_us(FRAMES - 1), capture_us(FRAMES - 2)
    assert done.end_us == 2 * last - before


@pytest.mark.parametrize(("encoder", "codec", "b_frames"), CODECS)
def test_a_killed_writer_leaves_complete_playable_groups(
    tmp_path: Path, encoder: str, codec: str, b_frames: int
) -> None:
    """The file on disk after each frame, truncated to what plays."""
    path, copy = tmp_path / "a.mp4", tmp_path / "copy.mp4"
    writer = SegmentWriter(path, VideoFormat(codec, WIDTH, HEIGHT))
    for n, unit in enumerate(units(encoder, b_frames)):
        writer.write(unit)
        for lost in (0, 5):  # also truncated by what the kernel had not written
            copy.write_bytes(path.read_bytes()[: -lost or None])
            groups = len(read(copy)) / GOP if truncate_to_playable(copy) else 0
            # The group before the current one may still be in the muxer.
            assert groups == int(groups)
            assert groups >= n // GOP - 1
    writer.close()


def test_invalid_units_are_rejected_and_the_file_still_plays(tmp_path: Path) -> None:
    made = units("libx264", 0)
    writer = SegmentWriter(tmp_path / "a.mp4", VideoFormat("h264", WIDTH, HEIGHT))
    with pytest.raises(InputError, match="key frame"):
        writer.write(made[1])
    for unit in made[:5]:
        writer.write(unit)
    with pytest.raises(InputError, match="order"):
        writer.write(made[3])
    done = writer.close()
    assert done is not None
    assert len(read(done.path)) == 5


def test_a_segment_without_frames_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert SegmentWriter(path, VideoFormat("h264", WIDTH, HEIGHT)).close() is None
    assert not path.exists()


def test_a_missing_folder_and_an_unsupported_codec(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"a\.mp4"):
        SegmentWriter(tmp_path / "none" / "a.mp4", VideoFormat("h264", WIDTH, HEIGHT))
    with pytest.raises(InputError, match="mjpeg"):
        SegmentWriter(tmp_path / "a.mp4", VideoFormat("mjpeg", WIDTH, HEIGHT))
