"""Segments joined into one file: same frames, same times, with audio, without duplicates."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from cluster.clips.coverage import segments_from
from cluster.clips.stitch import Stitched, Stitcher
from cluster.recording.segment import SegmentFile
from pipelines.errors import ConflictError, UnavailableError
from tests.recorded import GOP, picture_us, pictures, segments_of, sounds, units, with_sound

START_US = 1_790_000_000_123_457
END_US = START_US + 3_600_000_000
PER_SEGMENT = 30


def recorded(
    folder: Path, *, frames: int = 90, start_us: int = START_US, codec: str = "h264", b: int = 0
) -> list[SegmentFile]:
    content = units(frames, start_us, codec=codec, b_frames=b)
    return segments_of(folder, content, per_segment=PER_SEGMENT, codec=codec)


def stitched(
    path: Path,
    files: list[SegmentFile],
    from_us: int = 0,
    to_us: int = END_US,
    audio: Path | None = None,
) -> Stitched | None:
    with Stitcher(path, from_us, to_us, audio) as stitcher:
        for file in segments_from(files, from_us):
            stitcher.add(file.path, file.origin_us)
        return stitcher.close()


@pytest.mark.parametrize(("codec", "b"), [("h264", 0), ("h264", 2), ("hevc", 0)])
def test_stitching_keeps_all_frames_and_their_microseconds(
    tmp_path: Path, codec: str, b: int
) -> None:
    files = recorded(tmp_path / "segments", codec=codec, b=b)
    made = stitched(tmp_path / "a.mp4", files)
    assert made is not None
    before = [frame for file in files for frame in pictures(file.path, file.origin_us)]
    assert pictures(made.path, made.from_us) == before
    assert (made.from_us, made.to_us) == (START_US, files[-1].end_us)
    assert (made.frames, made.gaps, made.audio) == (90, (), False)
    assert made.size == made.path.stat().st_size


def test_a_player_can_start_at_once_and_browsers_know_the_codec(tmp_path: Path) -> None:
    for codec, tag in (("h264", "avc1"), ("hevc", "hvc1")):
        made = stitched(tmp_path / "a.mp4", recorded(tmp_path / codec, codec=codec))
        assert made is not None
        content = made.path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")
        with av.open(str(made.path)) as container:
            assert container.streams.video[0].codec_context.codec_tag == tag


@pytest.mark.parametrize(
    ("first", "last"), [(0, 90), (20, 40), (29, 31), (30, 60), (25, 26), (89, 200)]
)
def test_a_range_begins_with_the_key_frame_before_it(tmp_path: Path, first: int, last: int) -> None:
    files = recorded(tmp_path / "segments")
    made = stitched(
        tmp_path / "a.mp4", files, picture_us(START_US, first), picture_us(START_US, last)
    )
    assert made is not None
    assert [at for at, _ in pictures(made.path, made.from_us)] == [
        picture_us(START_US, n) for n in range(first // GOP * GOP, min(last, 90))
    ]


def test_overlapping_segments_add_each_frame_once(tmp_path: Path) -> None:
    """A segment that partly overlaps another, as after a restart, is used from its first new key
    frame on."""
    whole = recorded(tmp_path / "a", frames=60)
    [again] = segments_of(tmp_path / "b", units(60, START_US)[40:], per_segment=PER_SEGMENT)
    made = stitched(tmp_path / "a.mp4", [*whole, again])
    assert made is not None
    assert made.frames == 60
    half = stitched(tmp_path / "b.mp4", [whole[0], whole[0], whole[1]])
    assert half is not None
    assert half.frames == 60


def test_gaps_keep_their_length(tmp_path: Path) -> None:
    early = recorded(tmp_path / "a", frames=30)
    late = recorded(tmp_path / "b", frames=30, start_us=START_US + 120_000_000)
    made = stitched(tmp_path / "a.mp4", [*early, *late])
    assert made is not None
    assert [(gap.from_us, gap.to_us) for gap in made.gaps] == [
        (early[0].end_us, START_US + 120_000_000)
    ]
    with av.open(str(made.path)) as container:
        assert container.duration == pytest.approx(121_200_000, abs=50_000)


def test_other_parameter_sets_are_another_format(tmp_path: Path) -> None:
    with Stitcher(tmp_path / "a.mp4", 0, END_US) as stitcher:
        [first] = recorded(tmp_path / "a", frames=30)
        [second] = recorded(tmp_path / "b", frames=30, start_us=START_US + 2_000_000, b=2)
        stitcher.add(first.path, first.origin_us)
        with pytest.raises(ConflictError, match="format"):
            stitcher.add(second.path, second.origin_us)
    assert not (tmp_path / "a.mp4").exists()


def test_no_frame_in_the_range_leaves_no_file(tmp_path: Path) -> None:
    files = recorded(tmp_path / "segments", frames=30)
    assert stitched(tmp_path / "a.mp4", files, 0, START_US) is None
    assert stitched(tmp_path / "a.mp4", []) is None
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize("content", [b"", b"not a video", None])
def test_a_file_that_is_not_a_segment(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with (
        Stitcher(tmp_path / "a.mp4", 0, END_US) as stitcher,
        pytest.raises(UnavailableError, match=r"broken\.mp4"),
    ):
        stitcher.add(path, START_US)


def test_a_missing_folder(tmp_path: Path) -> None:
    [file] = recorded(tmp_path / "segments", frames=30)
    with (
        Stitcher(tmp_path / "none" / "a.mp4", 0, END_US) as stitcher,
        pytest.raises(UnavailableError, match="written"),
    ):
        stitcher.add(file.path, file.origin_us)


# ------------------------------------------------------------ audio


def test_audio_keeps_its_time(tmp_path: Path) -> None:
    files = [
        with_sound(file, tmp_path / f"{n}.mp4")
        for n, file in enumerate(recorded(tmp_path / "segments"))
    ]
    first, last = 25, 70
    made = stitched(
        tmp_path / "a.mp4",
        files,
        picture_us(START_US, first),
        picture_us(START_US, last),
        files[0].path,
    )
    assert made is not None
    assert made.audio
    heard = [at for file in files for at in sounds(file.path, file.origin_us)]
    wanted = [at for at in heard if made.from_us <= at < picture_us(START_US, last)]
    found = sounds(made.path, made.from_us)
    assert len(found) == len(wanted)
    assert np.abs(np.array(found) - np.array(wanted)).max() <= 25  # a sample is 21 us
    assert len(pictures(made.path, made.from_us)) == last - first // GOP * GOP


def test_segments_without_or_with_other_audio_are_silent(tmp_path: Path) -> None:
    plain, tone, other = recorded(tmp_path / "segments")
    tone = with_sound(tone, tmp_path / "tone.mp4")
    other = with_sound(other, tmp_path / "other.mp4", rate=16_000)
    made = stitched(tmp_path / "a.mp4", [plain, tone, other], audio=tone.path)
    assert made is not None
    assert made.audio
    found = sounds(made.path, made.from_us)
    assert tone.start_us - 50_000 <= found[0] <= found[-1] < other.start_us
    assert len(pictures(made.path, made.from_us)) == 90
