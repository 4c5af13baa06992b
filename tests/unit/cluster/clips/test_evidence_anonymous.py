"""Anonymised videos and pictures: nothing is left of persons, and the rest is as it was."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from cluster.clips.anonymous import Hiding, hide_in
from cluster.clips.pictures import Hider, hide_in_jpeg
from cluster.clips.stitch import Stitched, Stitcher
from cluster.recording.segment import SegmentFile
from pipelines.anonymisation import Hide, HideRule, HideStyle, Persons, persons_in
from pipelines.errors import UnavailableError
from pipelines.imaging import crop_jpeg
from tests.factories import T0_US
from tests.recorded import picture_us, segments_of, sounds, with_sound
from tests.walker import (
    SIZE,
    Luma,
    apart,
    looks_like,
    lumas,
    outside,
    place,
    scene,
    walk_paths,
    walk_units,
)

FRAMES = 50
NOW_US = T0_US + 3_600_000_000
# Reach of a margin here, and the blocks of the codec around it.
REACH = 24
# Both codecs are lossy; a person differs from the mosaic by 100.
LOSS = 4.0


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Stitched:
    """Two seconds of a walk."""
    folder = tmp_path_factory.mktemp("walk")
    return stitched(folder / "walk.mp4", recorded(folder))


def recorded(folder: Path) -> list[SegmentFile]:
    return segments_of(folder / "spool", walk_units(FRAMES, T0_US), per_segment=FRAMES, size=SIZE)


def stitched(path: Path, files: list[SegmentFile], audio: Path | None = None) -> Stitched:
    with Stitcher(path, 0, NOW_US, audio) as stitcher:
        for file in files:
            stitcher.add(file.path, file.origin_us)
        made = stitcher.close()
    assert made is not None
    return made


def hiding(
    hide: Hide = Hide.PERSONS, style: HideStyle = HideStyle.MOSAIC, *, keep_audio: bool = False
) -> Hiding:
    rule = HideRule(hide, style, keep_audio, ("person",))
    span = (T0_US, picture_us(T0_US, FRAMES))
    return Hiding(rule, persons_in(rule, walk_paths(FRAMES, T0_US), span=span, now_us=NOW_US))


@pytest.mark.parametrize("style", HideStyle)
def test_in_every_frame_the_person_is_gone_and_the_rest_is_there(
    walk: Stitched, tmp_path: Path, style: HideStyle
) -> None:
    made = hide_in(walk, hiding(style=style), tmp_path / "hidden.mp4")
    before, after = lumas(walk.path), lumas(made.path)
    assert len(before) == len(after) == made.frames == FRAMES
    # After the last analysed picture there may be anybody.
    for n in range(46):
        x1, y1, x2, y2 = place(n)
        assert looks_like(before[n], place(n)) > 0.8
        assert abs(looks_like(after[n], place(n))) < 0.1, n
        inside = apart(after[n], before[n])[y1:y2, x1:x2]
        assert (inside > LOSS).mean() > 0.97, n
        assert apart(after[n], before[n])[outside(n, REACH)].mean() < LOSS, n
    assert apart(after[49], before[49])[outside(49, REACH)].mean() > LOSS


def test_times_stay_and_the_file_is_described(walk: Stitched, tmp_path: Path) -> None:
    made = hide_in(walk, hiding(), tmp_path / "hidden.mp4")
    with av.open(str(made.path)) as container:
        times = [
            made.from_us + round(f.pts * f.time_base * 1_000_000)
            for f in container.decode(video=0)
            if f.pts is not None and f.time_base is not None
        ]
    assert times == [picture_us(T0_US, n) for n in range(FRAMES)]
    assert (made.codec, made.width, made.height) == ("h264", *SIZE)
    assert made.sha256 != walk.sha256


def test_of_heads_the_legs_stay(walk: Stitched, tmp_path: Path) -> None:
    made = hide_in(walk, hiding(Hide.HEADS), tmp_path / "hidden.mp4")
    for n, luma in enumerate(lumas(made.path)[:46]):
        x1, y1, x2, y2 = place(n)
        assert abs(looks_like(luma, (x1, y1, x2, y1 + 16))) < 0.1, n
        assert looks_like(luma, (x1, y2 - 16, x2, y2)) > 0.7, n


def test_nothing_known_is_hidden_as_a_whole(walk: Stitched, tmp_path: Path) -> None:
    unknown = Hiding(hiding().rule, Persons(Hide.PERSONS))
    made = hide_in(walk, unknown, tmp_path / "hidden.mp4")
    for n, (one, other) in enumerate(zip(lumas(made.path), lumas(walk.path), strict=True)):
        assert abs(looks_like(one, place(n))) < 0.1
        assert apart(one, other).mean() > LOSS


@pytest.mark.parametrize("keep", [True, False])
def test_sound_goes_unless_the_policy_keeps_it(tmp_path: Path, keep: bool) -> None:
    [file] = recorded(tmp_path)
    loud = with_sound(file, tmp_path / "loud.mp4")
    made = stitched(tmp_path / "a.mp4", [loud], loud.path)
    assert made.audio
    again = hide_in(made, hiding(keep_audio=keep), tmp_path / "b.mp4")
    assert again.audio is keep
    with av.open(str(again.path)) as container:
        assert len(container.streams.audio) == int(keep)
    if keep:
        assert sounds(again.path, again.from_us) == sounds(made.path, made.from_us)


def test_it_can_be_stopped(walk: Stitched, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(UnavailableError, match="stopped"):
        hide_in(walk, hiding(), tmp_path / "hidden.mp4", stop)


def test_the_same_work_has_the_same_name_and_other_work_another() -> None:
    names = [
        hiding().digest("a"),
        hiding().digest("b"),
        hiding(Hide.HEADS).digest("a"),
        hiding(style=HideStyle.FILL).digest("a"),
        Hiding(hiding().rule, Persons(Hide.PERSONS)).digest("a"),
    ]
    assert len(set(names)) == len(names)
    assert hiding().digest("a") == names[0]


# ------------------------------------------------------------ pictures


def picture(n: int) -> bytes:
    return crop_jpeg(np.repeat(scene(n)[..., None], 3, axis=2), 95)


def shown(jpeg: bytes) -> Luma:
    gray: Luma = simplejpeg.decode_jpeg(jpeg, colorspace="GRAY")[..., 0]
    return gray


def test_a_picture_of_a_moment() -> None:
    work = hiding()
    hidden = shown(hide_in_jpeg(picture(10), work.rule, work, picture_us(T0_US, 10)))
    assert looks_like(shown(picture(10)), place(10)) > 0.8
    assert abs(looks_like(hidden, place(10))) < 0.1
    assert apart(hidden, scene(10))[outside(10, REACH)].mean() < LOSS


def test_a_picture_of_which_nothing_is_known_is_hidden_as_a_whole() -> None:
    hidden = shown(hide_in_jpeg(picture(10), hiding().rule, None, 0))
    assert abs(looks_like(hidden, place(10))) < 0.1
    assert apart(hidden, scene(10))[outside(10, REACH)].mean() > LOSS


@pytest.mark.parametrize("content", [b"", b"picture", b"\xff\xd8\xff\xe0broken"])
def test_what_cannot_be_decoded_is_not_shown(content: bytes) -> None:
    with pytest.raises(UnavailableError, match="decoded"):
        hide_in_jpeg(content, hiding().rule, hiding(), T0_US)


async def test_a_tenant_has_one_picture_at_a_time() -> None:
    """So that another one's are not behind all of its own."""
    hider, log = Hider(), list[str]()
    first, done = threading.Event(), threading.Event()

    def slow() -> None:
        first.set()
        assert done.wait(60)
        log.append("acme")

    try:
        many = [asyncio.create_task(hider.run("acme", slow)) for _ in range(3)]
        await asyncio.to_thread(first.wait, 60)
        await hider.run("globex", lambda: log.append("globex"))
        done.set()
        await asyncio.gather(*many)
    finally:
        done.set()
        hider.close()
    assert log == ["globex", "acme", "acme", "acme"]
