"""Finished files wait in order and within bounds; those of a dead process are taken over."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from cluster.recording.segment import SegmentWriter, VideoFormat, VideoUnit
from cluster.recording.spool import PART, Spool
from cluster.recording.tags import Tags
from pipelines.domain import CameraKey
from pipelines.errors import UnavailableError
from tests.unit.cluster.recording.test_recording_segment import HEIGHT, WIDTH, read, units

GATE, YARD = CameraKey("acme", "gate"), CameraKey("globex", "yard")
PLENTY = 1 << 30
TAGS = Tags(masked=True, note="sound left out", rolls_us=(5, 7))


def shifted(stream: list[VideoUnit], by_us: int) -> list[VideoUnit]:
    return [
        VideoUnit(u.data, u.key_frame, u.capture_us + by_us, u.decode_us + by_us) for u in stream
    ]


@pytest.fixture(scope="module")
def reordered() -> list[VideoUnit]:
    """35 pictures, a key frame every ten, two B-frames between others."""
    return units("libx264", 2)


def write(spool: Spool, key: CameraKey, stream: list[VideoUnit], *, end: bool = True) -> Path:
    """A file of the stream, under the name that a recorder gives it; without `end`, as it lies on
    the disk when its process is killed."""
    path = spool.folder_of(key) / f"{stream[0].capture_us}.mp4{PART}"
    writer = SegmentWriter(path, VideoFormat("h264", WIDTH, HEIGHT), TAGS)
    for unit in stream:
        writer.write(unit)
    if not end:
        content = path.read_bytes()
        writer.abandon()
        path.write_bytes(content[:-3])  # torn
        return path
    done = writer.close()
    assert done is not None
    spool.finish(key, done)
    return path


def killed(spool: Spool) -> None:
    """What is left of a process: its folder, unlocked."""
    assert spool._handle is not None
    os.close(spool._handle)
    spool._handle = None


def test_finished_files_wait_oldest_first(tmp_path: Path, reordered: list[VideoUnit]) -> None:
    spool = Spool(tmp_path, PLENTY)
    late, early = write(spool, GATE, shifted(reordered, 10**7)), write(spool, YARD, reordered)
    waiting = spool.waiting()
    assert [waits.key for waits in waiting] == [YARD, GATE]
    assert [waits.file.path.name + PART for waits in waiting] == [early.name, late.name]
    assert [waits.file.start_us for waits in waiting] == [
        reordered[0].capture_us,
        reordered[0].capture_us + 10**7,
    ]
    spool.remove(waiting[0])
    assert not waiting[0].file.path.exists()
    assert spool.waiting() == waiting[1:]
    spool.close()


def test_beyond_the_bound_the_oldest_goes_and_is_counted(
    tmp_path: Path, reordered: list[VideoUnit]
) -> None:
    probe = Spool(tmp_path / "probe", PLENTY)
    write(probe, GATE, reordered)
    size = probe.waiting()[0].file.size
    probe.close()
    spool = Spool(tmp_path / "spool", 2 * size + size // 2)
    for n in (1, 0, 2, 3):  # not in the order of their times
        write(spool, YARD if n == 0 else GATE, shifted(reordered, n * 10**7))
    first_us = reordered[0].capture_us
    starts = [waits.file.start_us for waits in spool.waiting()]
    assert starts == [first_us + 2 * 10**7, first_us + 3 * 10**7]
    assert spool.lost == {YARD: 1, GATE: 1}
    assert len(list(spool.folder.glob("*/*/*.mp4"))) == 2
    spool.close()


def test_what_a_killed_process_left_is_mended_and_taken_over(
    tmp_path: Path, reordered: list[VideoUnit]
) -> None:
    dead = Spool(tmp_path, PLENTY)
    write(dead, GATE, reordered)
    write(dead, YARD, shifted(reordered, 10**7), end=False)
    (dead.folder_of(YARD) / f"7.mp4{PART}").write_bytes(b"not a fragment")
    whole = dead.waiting()[0].file
    killed(dead)

    heir = Spool(tmp_path, PLENTY)
    assert heir.adopt() == 2
    assert not dead.folder.exists()
    first, second = heir.waiting()
    assert (first.key, second.key) == (GATE, YARD)
    # Found out from the file itself, to the microsecond.
    for name in ("origin_us", "start_us", "end_us", "frames", "size", "sha256", "video", "tags"):
        assert getattr(first.file, name) == getattr(whole, name)
    assert second.file.tags == TAGS
    assert second.file.frames >= 20
    sent = {unit.capture_us + 10**7 for unit in reordered}
    captures = [second.file.origin_us + at_us for at_us, _ in read(second.file.path)]
    assert set(captures) <= sent
    assert (captures[0], len(captures)) == (second.file.start_us, second.file.frames)
    content = second.file.path.read_bytes()
    assert second.file.sha256 == hashlib.sha256(content).hexdigest()
    assert heir.lost == {YARD: 1}  # the one of which nothing plays
    heir.close()


def test_what_lives_is_left_alone(tmp_path: Path, reordered: list[VideoUnit]) -> None:
    alive, other = Spool(tmp_path, PLENTY), Spool(tmp_path, PLENTY)
    write(alive, GATE, reordered)
    assert other.adopt() == 0
    assert len(alive.waiting()) == 1
    alive.close()  # what waits stays
    assert other.adopt() == 1
    assert other.waiting()[0].key == GATE
    other.remove(other.waiting()[0])
    other.close()
    assert list(tmp_path.iterdir()) == []  # and where nothing waits, nothing stays


def test_a_disk_that_refuses_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    spool = Spool(blocked / "spool", PLENTY)
    with pytest.raises(UnavailableError, match="spool") as caught:
        spool.folder_of(GATE)
    assert "data_dir" in caught.value.hint
    blocked.unlink()
    assert spool.folder_of(GATE).is_dir()
    spool.close()


def test_a_file_that_vanished_is_no_loss_of_ours(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLENTY)
    assert not spool.repair(GATE, spool.folder_of(GATE) / f"5.mp4{PART}")
    assert spool.lost == {}
    spool.close()
