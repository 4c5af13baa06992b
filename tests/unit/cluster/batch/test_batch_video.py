"""Chunks contain every frame of a video exactly once, in all containers and codecs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from cluster.batch.chunks import FOREVER_US, Chunk, InferenceSpec, split
from cluster.batch.extract import ExtractRequest, extract
from cluster.batch.infer import due_frames
from cluster.batch.sources import Source, StartFrom, find_files, of_files
from cluster.batch.video import (
    BrokenVideoError,
    ReadStats,
    chunk_frames,
    media_us,
    planes_of,
    probe,
)
from pipelines.domain import CameraKey
from pipelines.masking import MaskPainter
from pipelines.sampling import FrameSampler, grid_phase
from tests.unit.cluster.batch.sample_videos import BITS, SIZE, SQUARE, make_video, number_of

START_US = 1_767_225_600_000_000
NOBODY = MaskPainter(())

VIDEOS: dict[str, tuple[str, dict[str, Any]]] = {
    "mp4": ("a.mp4", {}),
    "mp4 with B-frames": ("a.mp4", {"b_frames": 2}),
    "mp4 with open groups": ("a.mp4", {"b_frames": 2, "options": {"x264-params": "open-gop=1"}}),
    "mkv": ("a.mkv", {}),
    "mkv with B-frames": ("a.mkv", {"b_frames": 3}),
    "avi": ("a.avi", {}),
    "avi with B-frames": ("a.avi", {"b_frames": 2}),
    "avi of MPEG-4": ("a.avi", {"codec": "mpeg4", "options": {"qscale": "3"}}),
    "ts": ("a.ts", {}),
    "ts with B-frames": ("a.ts", {"b_frames": 2}),
    "h265 in mp4": ("a.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=error"}}),
    "one group": ("a.mp4", {"gop": 1000}),
    "key frames only": ("a.mkv", {"gop": 1}),
}


@pytest.fixture(scope="module", params=VIDEOS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, options = VIDEOS[request.param]
    return make_video(tmp_path_factory.mktemp("video") / name, **options)


def source_of(path: Path) -> Source:
    (source,), rejected = of_files([str(path)], START_US)
    assert rejected == []
    return source


def numbers(chunks: list[Chunk]) -> list[int]:
    """The numbers that the frames of all chunks show."""
    found = []
    for chunk in chunks:
        stats = ReadStats()
        for _, frame in chunk_frames(chunk.source.url, chunk.from_us, chunk.to_us, stats):
            found.append(number_of(planes_of(frame, NOBODY)))
        assert (stats.corrupt, stats.cut_short) == (0, "")
    return found


@pytest.mark.parametrize("chunk_s", [0.1, 0.9, 1.7, 100.0])
def test_chunks_hold_every_frame_once(path: Path, chunk_s: float) -> None:
    source = source_of(path)
    chunks = list(split([source], round(chunk_s * 1e6), 0, FOREVER_US))
    assert len(chunks) == (1 if source.whole else max(1, round(4.0 / chunk_s)))
    assert numbers(chunks) == list(range(100))


def test_only_avi_with_b_frames_is_read_in_one_piece(
    path: Path, request: pytest.FixtureRequest
) -> None:
    assert source_of(path).whole == ("avi with B-frames" in request.node.name)


@pytest.mark.parametrize("fps", [2.0, 7.0, 24.0, 30.0])
def test_chunks_sample_the_same_frames_as_the_live_path(path: Path, fps: float) -> None:
    """Live, one sampler sees every frame; in chunks, each starts with a new one."""
    source = source_of(path)
    sampler = FrameSampler(fps, grid_phase(CameraKey("acme", "gate")))
    live = []
    for number in range(100):
        capture_us = START_US + number * 40_000
        if sampler.offer(capture_us):
            sampler.done()
            live.append(capture_us)
    spec = spec_at(fps)
    found = [
        due.capture_us
        for chunk in split([source], 700_000, 0, FOREVER_US)
        for due, _ in due_frames(chunk, spec, ReadStats())
    ]
    assert found == live


def spec_at(fps: float) -> InferenceSpec:
    return InferenceSpec(
        tenant="acme",
        camera="gate",
        fps=fps,
        weights="x.pt",
        sha256="0" * 64,
        runtime="auto",
        precision="auto",
        input_size=(64, 64),
        confidence=0.25,
        iou=0.6,
    )


def test_a_time_range_samples_the_same_frames_as_the_whole_video(tmp_path: Path) -> None:
    source = source_of(make_video(tmp_path / "a.mp4"))
    spec = spec_at(7.0)

    def sampled(from_us: int, to_us: int) -> list[int]:
        chunks = split([source], 700_000, from_us, to_us)
        return [s.capture_us for c in chunks for s, _ in due_frames(c, spec, ReadStats())]

    from_us, to_us = START_US + 1_111_111, START_US + 2_999_999
    everything = sampled(0, FOREVER_US)
    assert sampled(from_us, to_us) == [t for t in everything if from_us <= t < to_us]


def test_frames_are_extracted_by_their_time(path: Path) -> None:
    """For crops and snapshots: in any order, with short and long gaps."""
    times: dict[int, int] = {}
    for _, frame in chunk_frames(str(path), None, None, ReadStats()):
        times[number_of(planes_of(frame, NOBODY))] = media_us(frame)
    wanted = [95, 3, 4, 57, 0, 99, 58]
    whole = (0, 0, *SIZE)
    extractions = extract(str(path), [ExtractRequest(times[n], whole) for n in wanted], (), nice=0)
    assert [rgb_number(frame) for frame in extractions] == wanted


def rgb_number(frame: Any) -> int:
    half = SQUARE // 2
    row = frame[half - 2 : half + 2, : BITS * SQUARE, 1].mean(axis=0)
    return sum(1 << bit for bit in range(BITS) if row[bit * SQUARE + half] > 125)


def test_a_video_that_does_not_start_at_zero(tmp_path: Path) -> None:
    """The start time is that of its first frame, and all chunks are found."""
    path = make_video(tmp_path / "a.mkv", offset=1000)
    source = source_of(path)
    assert source.zero_us == START_US - 40_000_000
    chunks = list(split([source], 500_000, 0, FOREVER_US))
    assert numbers(chunks) == list(range(100))
    (first, *_), spec = chunks, spec_at(25.0)
    assert next(iter(due_frames(first, spec, ReadStats())))[0].capture_us == START_US


def test_the_origin_of_the_start_time(tmp_path: Path) -> None:
    """Option, tag, or the modification time, which is the end of the video."""
    tagged = make_video(tmp_path / "t.mp4", tags={"creation_time": "2026-01-01T00:00:10.000000Z"})
    plain = make_video(tmp_path / "p.mp4")
    os.utime(plain, (1_767_225_700.0, 1_767_225_700.0))
    sources, _ = of_files([str(tagged), str(plain)])
    assert [(s.name, s.start_us, s.start_from) for s in sources] == [
        ("t.mp4", START_US + 10_000_000, StartFrom.TAG),
        ("p.mp4", START_US + 100_000_000 - 4_000_000, StartFrom.FILE),
    ]
    sources, _ = of_files([str(tagged), str(plain)], START_US)
    assert [(s.name, s.start_us, s.start_from) for s in sources] == [
        ("t.mp4", START_US, StartFrom.OPTION),
        ("p.mp4", START_US + 4_000_000, StartFrom.OPTION),
    ]


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 1000])
def test_files_that_are_not_videos_are_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(BrokenVideoError):
        probe(str(path))
    sources, (rejected,) = of_files([str(path)])
    assert (sources, rejected.name) == ([], "a.mp4")


def test_a_truncated_video_is_read_up_to_its_end(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = numbers(list(split([source_of(path)], 500_000, 0, FOREVER_US)))
    assert found == list(range(len(found)))
    assert 30 < len(found) < 70


def test_corruption_costs_only_the_frames_it_hits(tmp_path: Path) -> None:
    """The rest is analysed, and packets that do not decode are counted."""
    path = make_video(tmp_path / "a.mkv")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(range(256)) + bytes(144)
    path.write_bytes(content)
    stats = ReadStats()
    found = [
        number_of(planes_of(frame, NOBODY))
        for _, frame in chunk_frames(str(path), None, None, stats)
    ]
    assert found[:30] == list(range(30))
    assert found[-20:] == list(range(80, 100))


def test_a_bucket_is_read_like_a_folder(tmp_path: Path) -> None:
    """Over fsspec, by ranges: found, split, and extracted by time."""
    bucket = fsspec.filesystem("memory")
    for name in ("b.mp4", "a.ts"):
        bucket.pipe_file(f"/videos/day/{name}", make_video(tmp_path / name).read_bytes())
    bucket.pipe_file("/videos/day/notes.txt", b"not a video")
    assert find_files("memory://videos/*/*.mp4") == ["memory:///videos/day/b.mp4"]
    urls = find_files("memory://videos")
    assert urls == ["memory:///videos/day/a.ts", "memory:///videos/day/b.mp4"]
    sources, rejected = of_files(urls, START_US)
    assert rejected == []
    for source in sources:
        assert numbers(list(split([source], 700_000, 0, FOREVER_US))) == list(range(100))
    times = [media_us(frame) for _, frame in chunk_frames(urls[1], None, None, ReadStats())]
    (frame,) = extract(urls[1], [ExtractRequest(times[42], (0, 0, *SIZE))], (), nice=0)
    assert rgb_number(frame) == 42
    bucket.rm("/videos", recursive=True)


def test_masks_are_painted_before_inference_and_in_crops(tmp_path: Path) -> None:
    """In the model's input and in crops, but not in the frames that the decoder still needs."""
    path = make_video(tmp_path / "a.mp4")
    right = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
    masked = spec_at(25.0).model_copy(update={"masks": (right,)})
    (chunk,) = split([source_of(path)], 10**9, 0, FOREVER_US)
    plain = [frame.pixels for _, frame in due_frames(chunk, spec_at(25.0), ReadStats())]
    painted = [frame.pixels for _, frame in due_frames(chunk, masked, ReadStats())]
    assert len(painted) == 100
    for before, after in zip(plain, painted, strict=True):
        # The frame covers 64 x 48 of the 64 x 64 input.
        assert (after[8:56, 36:] < 8).all()
        assert (after[8:56, :24] == before[8:56, :24]).all()
    (crop,) = extract(str(path), [ExtractRequest(40_000, (0, 0, *SIZE))], (right,), nice=0)
    assert isinstance(crop, np.ndarray)
    assert (crop[:, 72:] < 8).all()


def test_only_chunks_that_may_reach_into_the_range_are_read() -> None:
    """With a margin of a minute, for key frames that are far apart."""
    minute = 60_000_000
    sources = [
        Source(
            url=f"{number}.mp4",
            name=f"{number}.mp4",
            zero_us=START_US + number * minute,
            start_us=START_US + number * minute,
            end_us=START_US + (number + 1) * minute,
            identity=str(number),
            start_from=StartFrom.RECORDING,
        )
        for number in range(10)
    ]
    chunks = list(split(sources, minute, START_US + 5 * minute, START_US + 6 * minute))
    assert [chunk.source.name for chunk in chunks] == ["4.mp4", "5.mp4"]
    halves = list(split(sources[5:7], minute // 2, 0, FOREVER_US))
    assert [(chunk.from_us, chunk.to_us) for chunk in halves] == [
        (None, minute // 2),
        (minute // 2, None),
    ] * 2


def test_the_key_of_a_table_identifies_its_result(tmp_path: Path) -> None:
    """A range that does not cut the chunk changes nothing; another spec or file does."""
    source = source_of(make_video(tmp_path / "a.mp4"))
    spec = spec_at(5.0)
    (whole,) = split([source], 10**9, 0, FOREVER_US)
    (same,) = split([source], 10**9, START_US - 1, START_US + 100_000_000)
    (cut_short,) = split([source], 10**9, START_US + 1_000_000, FOREVER_US)
    other = whole.model_copy(update={"source": source.model_copy(update={"identity": "other"})})
    names = [
        whole.key(spec),
        cut_short.key(spec),
        other.key(spec),
        *(
            whole.key(spec.model_copy(update=change))
            for change in ({"fps": 6.0}, {"sha256": "1" * 64}, {"masks": (MASK,)}, {"iou": 0.5})
        ),
    ]
    assert same.key(spec) == names[0]
    assert len(set(names)) == len(names)
    assert whole.key(spec.model_copy(update={"weights": "/elsewhere/x.pt"})) == names[0]


MASK = ((0.0, 0.0), (0.1, 0.0), (0.1, 0.1))
