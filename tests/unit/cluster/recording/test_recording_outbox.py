"""Finished files wait in order and within limits; those of a dead process are adopted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from cluster.recording.outbox import PART, SegmentOutbox
from cluster.recording.segment import SegmentWriter, VideoFormat, VideoUnit
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
    """35 frames, a key frame every ten, two B-frames between the others."""
    return units("libx264", 2)


def write(
    outbox: SegmentOutbox, key: CameraKey, stream: list[VideoUnit], *, end: bool = True
) -> Path:
    """A file of the stream, named as by a recorder. Without `end`, as left by a killed process."""
    path = outbox.folder_of(key) / f"{stream[0].capture_us}.mp4{PART}"
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
    outbox.finish(key, done)
    return path


def killed(outbox: SegmentOutbox) -> None:
    """A killed process leaves its folder unlocked."""
    assert outbox._handle is not None
    os.close(outbox._handle)
    outbox._handle = None


def test_finished_files_wait_oldest_first(tmp_path: Path, reordered: list[VideoUnit]) -> None:
    outbox = SegmentOutbox(tmp_path, PLENTY)
    late, early = write(outbox, GATE, shifted(reordered, 10**7)), write(outbox, YARD, reordered)
    waiting = outbox.waiting()
    assert [waits.key for waits in waiting] == [YARD, GATE]
    assert [waits.file.path.name + PART for waits in waiting] == [early.name, late.name]
    assert [waits.file.start_us for waits in waiting] == [
        reordered[0].capture_us,
        reordered[0].capture_us + 10**7,
    ]
    outbox.remove(waiting[0])
    assert not waiting[0].file.path.exists()
    assert outbox.waiting() == waiting[1:]
    outbox.close()


def test_over_the_limit_the_oldest_is_deleted_and_counted(
    tmp_path: Path, reordered: list[VideoUnit]
) -> None:
    probe = SegmentOutbox(tmp_path / "probe", PLENTY)
    write(probe, GATE, reordered)
    size = probe.waiting()[0].file.size
    probe.close()
    outbox = SegmentOutbox(tmp_path / "outbox", 2 * size + size // 2)
    for n in (1, 0, 2, 3):  # not in the order of their times
        write(outbox, YARD if n == 0 else GATE, shifted(reordered, n * 10**7))
    first_us = reordered[0].capture_us
    starts = [waits.file.start_us for waits in outbox.waiting()]
    assert starts == [first_us + 2 * 10**7, first_us + 3 * 10**7]
    assert outbox.lost == {YARD: 1, GATE: 1}
    assert len(list(outbox.folder.glob("*/*/*.mp4"))) == 2
    outbox.close()


def test_files_of_a_killed_process_are_repaired_and_adopted(
    tmp_path: Path, reordered: list[VideoUnit]
) -> None:
    dead = SegmentOutbox(tmp_path, PLENTY)
    write(dead, GATE, reordered)
    write(dead, YARD, shifted(reordered, 10**7), end=False)
    (dead.folder_of(YARD) / f"7.mp4{PART}").write_bytes(b"not a fragment")
    whole = dead.waiting()[0].file
    killed(dead)

    heir = SegmentOutbox(tmp_path, PLENTY)
    assert heir.adopt() == 2
    assert not dead.folder.exists()
    first, second = heir.waiting()
    assert (first.key, second.key) == (GATE, YARD)
    # Read from the file itself, exact to the microsecond.
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
    assert heir.lost == {YARD: 1}  # the unplayable one
    heir.close()


def test_files_of_a_live_process_are_not_adopted(
    tmp_path: Path, reordered: list[VideoUnit]
) -> None:
    alive, other = SegmentOutbox(tmp_path, PLENTY), SegmentOutbox(tmp_path, PLENTY)
    write(alive, GATE, reordered)
    assert other.adopt() == 0
    assert len(alive.waiting()) == 1
    alive.close()  # waiting files stay
    assert other.adopt() == 1
    assert other.waiting()[0].key == GATE
    other.remove(other.waiting()[0])
    other.close()
    assert list(tmp_path.iterdir()) == []  # an empty outbox is removed


def test_a_disk_error_has_a_hint(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    outbox = SegmentOutbox(blocked / "outbox", PLENTY)
    with pytest.raises(UnavailableError, match="outbox") as caught:
        outbox.folder_of(GATE)
    assert "data_dir" in caught.value.hint
    blocked.unlink()
    assert outbox.folder_of(GATE).is_dir()
    outbox.close()


def test_a_vanished_file_is_not_counted_as_lost(tmp_path: Path) -> None:
    outbox = SegmentOutbox(tmp_path, PLENTY)
    assert not outbox.repair(GATE, outbox.folder_of(GATE) / f"5.mp4{PART}")
    assert outbox.lost == {}
    outbox.close()
