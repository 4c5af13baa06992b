"""A film in chunks is the film: no picture twice, none missing, whatever container and codec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from cluster.batch.chunks import FOREVER_US, Chunk, Look, split
from cluster.batch.extract import Wanted, cut
from cluster.batch.infer import due_frames
from cluster.batch.sources import Source, StartFrom, find_files, of_files
from cluster.batch.video import (
    BrokenVideoError,
    ReadStats,
    media_us,
    pictures,
    planes_of,
    probe,
)
from pipelines.domain import CameraKey
from pipelines.masking import MaskPainter
from pipelines.sampling import FrameSampler, grid_phase
from tests.unit.cluster.batch.films import BITS, SIZE, SQUARE, film, number_of

START_US = 1_767_225_600_000_000
NOBODY = MaskPainter(())

FILMS: dict[str, tuple[str, dict[str, Any]]] = {
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


@pytest.fixture(scope="module", params=FILMS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, options = FILMS[request.param]
    return film(tmp_path_factory.mktemp("film") / name, **options)


def source_of(path: Path) -> Source:
    (source,), rejected = of_files([str(path)], START_US)
    assert rejected == []
    return source


def numbers(chunks: list[Chunk]) -> list[int]:
    """What the pictures of all chunks say that they are."""
    found = []
    for chunk in chunks:
        stats = ReadStats()
        for _, frame in pictures(chunk.source.url, chunk.from_us, chunk.to_us, stats):
            found.append(number_of(planes_of(frame, NOBODY)))
        assert (stats.corrupt, stats.cut_short) == (0, "")
    return found


@pytest.mark.parametrize("chunk_s", [0.1, 0.9, 1.7, 100.0])
def test_chunks_hold_every_picture_once(path: Path, chunk_s: float) -> None:
    source = source_of(path)
    chunks = list(split([source], round(chunk_s * 1e6), 0, FOREVER_US))
    assert len(chunks) == (1 if source.whole else max(1, round(4.0 / chunk_s)))
    assert numbers(chunks) == list(range(100))


def test_only_what_must_be_is_read_as_a_whole(path: Path, request: pytest.FixtureRequest) -> None:
    assert source_of(path).whole == ("avi with B-frames" in request.node.name)


@pytest.mark.parametrize("fps", [2.0, 7.0, 24.0, 30.0])
def test_chunks_look_at_the_pictures_that_the_live_path_looks_at(path: Path, fps: float) -> None:
    """Live, one sampler sees every picture; in chunks, each begins anew."""
    source = source_of(path)
    sampler = FrameSampler(fps, grid_phase(CameraKey("acme", "gate")))
    live = []
    for number in range(100):
        capture_us = START_US + number * 40_000
        if sampler.offer(capture_us):
            sampler.done()
            live.append(capture_us)
    look = looking(fps)
    found = [
        seen.capture_us
        for chunk in split([source], 700_000, 0, FOREVER_US)
        for seen, _ in due_frames(chunk, look, ReadStats())
    ]
    assert found == live


def looking(fps: float) -> Look:
    return Look(
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


def test_a_window_is_looked_at_as_if_there_were_no_window(tmp_path: Path) -> None:
    source = source_of(film(tmp_path / "a.mp4"))
    look = looking(7.0)

    def seen(from_us: int, to_us: int) -> list[int]:
        chunks = split([source], 700_000, from_us, to_us)
        return [s.capture_us for c in chunks for s, _ in due_frames(c, look, ReadStats())]

    from_us, to_us = START_US + 1_111_111, START_US + 2_999_999
    everything = seen(0, FOREVER_US)
    assert seen(from_us, to_us) == [t for t in everything if from_us <= t < to_us]


def test_pictures_are_found_again_by_their_time(path: Path) -> None:
    """For crops and snapshots, in any order, near and far."""
    times: dict[int, int] = {}
    for _, frame in pictures(str(path), None, None, ReadStats()):
        times[number_of(planes_of(frame, NOBODY))] = media_us(frame)
    wanted = [95, 3, 4, 57, 0, 99, 58]
    whole = (0, 0, *SIZE)
    cuts = cut(str(path), [Wanted(times[n], whole) for n in wanted], (), nice=0)
    assert [rgb_number(picture) for picture in cuts] == wanted


def rgb_number(picture: Any) -> int:
    half = SQUARE // 2
    row = picture[half - 2 : half + 2, : BITS * SQUARE, 1].mean(axis=0)
    return sum(1 << bit for bit in range(BITS) if row[bit * SQUARE + half] > 125)


def test_a_film_that_does_not_begin_at_zero(tmp_path: Path) -> None:
    """Its first picture is what starts at the start, and every chunk is found."""
    path = film(tmp_path / "a.mkv", offset=1000)
    source = source_of(path)
    assert source.zero_us == START_US - 40_000_000
    chunks = list(split([source], 500_000, 0, FOREVER_US))
    assert numbers(chunks) == list(range(100))
    (first, *_), look = chunks, looking(25.0)
    assert next(iter(due_frames(first, look, ReadStats())))[0].capture_us == START_US


def test_where_the_time_is_known_from(tmp_path: Path) -> None:
    """Option, tag, or the file's own time, which is when it ended."""
    tagged = film(tmp_path / "t.mp4", tags={"creation_time": "2026-01-01T00:00:10.000000Z"})
    plain = film(tmp_path / "p.mp4")
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


@pytest.mark.parametrize("content", [b"", b"no film at all" * 1000])
def test_what_is_no_film_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(BrokenVideoError):
        probe(str(path))
    sources, (rejected,) = of_files([str(path)])
    assert (sources, rejected.name) == ([], "a.mp4")


def test_a_film_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = film(tmp_path / "a.ts")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = numbers(list(split([source_of(path)], 500_000, 0, FOREVER_US)))
    assert found == list(range(len(found)))
    assert 30 < len(found) < 70


def test_noise_in_the_middle_costs_what_it_hit(tmp_path: Path) -> None:
    """The rest is looked at, and what could not be decoded is counted."""
    path = film(tmp_path / "a.mkv")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(range(256)) + bytes(144)
    path.write_bytes(content)
    stats = ReadStats()
    found = [
        number_of(planes_of(frame, NOBODY)) for _, frame in pictures(str(path), None, None, stats)
    ]
    assert found[:30] == list(range(30))
    assert found[-20:] == list(range(80, 100))


def test_a_bucket_is_read_like_a_folder(tmp_path: Path) -> None:
    """Over fsspec, piece by piece: found, split, looked at again by time."""
    bucket = fsspec.filesystem("memory")
    for name in ("b.mp4", "a.ts"):
        bucket.pipe_file(f"/films/day/{name}", film(tmp_path / name).read_bytes())
    bucket.pipe_file("/films/day/notes.txt", b"no film")
    assert find_files("memory://films/*/*.mp4") == ["memory:///films/day/b.mp4"]
    urls = find_files("memory://films")
    assert urls == ["memory:///films/day/a.ts", "memory:///films/day/b.mp4"]
    sources, rejected = of_files(urls, START_US)
    assert rejected == []
    for source in sources:
        assert numbers(list(split([source], 700_000, 0, FOREVER_US))) == list(range(100))
    times = [media_us(frame) for _, frame in pictures(urls[1], None, None, ReadStats())]
    (picture,) = cut(urls[1], [Wanted(times[42], (0, 0, *SIZE))], (), nice=0)
    assert rgb_number(picture) == 42
    bucket.rm("/films", recursive=True)


def test_masks_are_painted_before_anything_is_looked_at(tmp_path: Path) -> None:
    """In what the model is given, in crops, and not in what the decoder goes on with."""
    path = film(tmp_path / "a.mp4")
    right = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
    masked = looking(25.0).model_copy(update={"masks": (right,)})
    (chunk,) = split([source_of(path)], 10**9, 0, FOREVER_US)
    plain = [frame.pixels for _, frame in due_frames(chunk, looking(25.0), ReadStats())]
    painted = [frame.pixels for _, frame in due_frames(chunk, masked, ReadStats())]
    assert len(painted) == 100
    for before, after in zip(plain, painted, strict=True):
        # 64 x 48 of the 64 x 64 input are the picture.
        assert (after[8:56, 36:] < 8).all()
        assert (after[8:56, :24] == before[8:56, :24]).all()
    (crop,) = cut(str(path), [Wanted(40_000, (0, 0, *SIZE))], (right,), nice=0)
    assert isinstance(crop, np.ndarray)
    assert (crop[:, 72:] < 8).all()


def test_only_chunks_that_may_reach_into_the_window_are_read() -> None:
    """A minute of margin, for key frames that are far apart."""
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


def test_a_table_is_named_by_what_comes_out_of_it(tmp_path: Path) -> None:
    """A window that does not cut a chunk changes nothing; another look, or another file, does."""
    source = source_of(film(tmp_path / "a.mp4"))
    look = looking(5.0)
    (whole,) = split([source], 10**9, 0, FOREVER_US)
    (same,) = split([source], 10**9, START_US - 1, START_US + 100_000_000)
    (cut_short,) = split([source], 10**9, START_US + 1_000_000, FOREVER_US)
    other = whole.model_copy(update={"source": source.model_copy(update={"identity": "other"})})
    names = [
        whole.key(look),
        cut_short.key(look),
        other.key(look),
        *(
            whole.key(look.model_copy(update=change))
            for change in ({"fps": 6.0}, {"sha256": "1" * 64}, {"masks": (MASK,)}, {"iou": 0.5})
        ),
    ]
    assert same.key(look) == names[0]
    assert len(set(names)) == len(names)
    assert whole.key(look.model_copy(update={"weights": "/elsewhere/x.pt"})) == names[0]


MASK = ((0.0, 0.0), (0.1, 0.0), (0.1, 0.1))
