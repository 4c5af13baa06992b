"""Clips for browsers: the same frames at the same times in another codec, with the same audio."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from cluster.clips.playable import encode_for_browsers
from cluster.clips.stitch import Stitched, Stitcher
from cluster.recording.segment import SegmentFile
from pipelines.errors import UnavailableError
from tests.recorded import (
    HEIGHT,
    STEP_US,
    WIDTH,
    pictures,
    segments_of,
    sounds,
    units,
    with_sound,
)

START_US = 1_790_000_000_123_457
END_US = START_US + 3_600_000_000
FRAMES, PER_SEGMENT = 60, 30
# Both codecs are lossy; any other frame of the moving square differs by 10.
LOSS = 4.0


def recorded(
    folder: Path, start_us: int = START_US, *, b_frames: int = 0, frames: int = FRAMES
) -> list[SegmentFile]:
    content = units(frames, start_us, codec="hevc", b_frames=b_frames)
    return segments_of(folder, content, per_segment=PER_SEGMENT, codec="hevc")


def stitched(path: Path, files: list[SegmentFile], audio: Path | None = None) -> Stitched:
    with Stitcher(path, 0, END_US, audio) as stitcher:
        for file in files:
            stitcher.add(file.path, file.origin_us)
        made = stitcher.close()
    assert made is not None
    return made


@pytest.mark.parametrize("b_frames", [0, 2])
def test_re_encoded_frames_keep_their_microseconds(tmp_path: Path, b_frames: int) -> None:
    made = stitched(tmp_path / "a.mp4", recorded(tmp_path / "segments", b_frames=b_frames))
    again = encode_for_browsers(made, tmp_path / "b.mp4")
    before = pictures(made.path, made.from_us)
    after = pictures(again.path, again.from_us)
    assert [at for at, _ in after] == [at for at, _ in before]
    assert len(after) == again.frames == FRAMES
    for (_, one), (_, other) in zip(before, after, strict=True):
        apart = np.frombuffer(one, np.uint8).astype(int) - np.frombuffer(other, np.uint8)
        assert np.abs(apart).mean() < LOSS


def test_every_browser_supports_the_file_and_can_start_at_once(tmp_path: Path) -> None:
    made = stitched(tmp_path / "a.mp4", recorded(tmp_path / "segments"))
    again = encode_for_browsers(made, tmp_path / "b.mp4")
    content = again.path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(again.path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.codec_tag, context.pix_fmt) == ("h264", "avc1", "yuv420p")
        assert (context.width, context.height) == (WIDTH, HEIGHT)
    assert (made.codec, again.codec) == ("hevc", "h264")
    assert (again.width, again.height) == (WIDTH, HEIGHT)
    assert (again.size, again.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_gap_keeps_its_length(tmp_path: Path) -> None:
    late_us = START_US + 20_000_000
    files = recorded(tmp_path / "a", frames=30) + recorded(tmp_path / "b", late_us, frames=30)
    made = stitched(tmp_path / "a.mp4", files)
    again = encode_for_browsers(made, tmp_path / "b.mp4")
    assert again.gaps == made.gaps != ()
    times = [at for at, _ in pictures(again.path, again.from_us)]
    assert max(np.diff(times)) == late_us - times[29] > 10_000_000


def test_audio_packets_are_copied(tmp_path: Path) -> None:
    files = recorded(tmp_path / "segments")
    loud = [with_sound(file, tmp_path / f"{n}.mp4") for n, file in enumerate(files)]
    made = stitched(tmp_path / "a.mp4", loud, loud[0].path)
    again = encode_for_browsers(made, tmp_path / "b.mp4")
    assert again.audio
    assert sounds(again.path, again.from_us) == sounds(made.path, made.from_us) != []
    assert _packets(again.path) == _packets(made.path)


def test_damage_costs_only_the_damaged_frames(tmp_path: Path) -> None:
    """Zeros in the frames of the second half second, as a bad disk block would leave."""
    made = stitched(tmp_path / "a.mp4", recorded(tmp_path / "segments"))
    with av.open(str(made.path)) as container:
        packets = [p for p in container.demux(video=0) if p.pos is not None and p.dts is not None]
    with made.path.open("r+b") as file:
        for packet in packets[13:20]:
            file.seek(packet.pos or 0)
            file.write(bytes(packet.size))
    again = encode_for_browsers(made, tmp_path / "b.mp4")
    times = {at - START_US for at, _ in pictures(again.path, again.from_us)}
    whole = {at for at in times if at < 13 * STEP_US or at >= 20 * STEP_US}
    assert len(whole) >= FRAMES - 7


def test_a_disk_error_is_reported(tmp_path: Path) -> None:
    made = stitched(tmp_path / "a.mp4", recorded(tmp_path / "segments"))
    with pytest.raises(UnavailableError, match="cannot be encoded for browsers"):
        encode_for_browsers(made, tmp_path / "missing" / "b.mp4")


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.dts is not None]
