"""Masks in finished files: all codecs, B-frames and sound; and what a mask touches."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.recording.audio import AudioPlan
from cluster.recording.segment import SegmentWriter, VideoFormat
from cluster.recording.shipper import segment_of
from cluster.recording.strays import painted_key, start_of
from cluster.remasking.paint import paint_jpeg, paint_recording, touches
from pipelines.crops import crop_box
from pipelines.errors import InputError
from pipelines.masking import MaskPainter
from tests.recorded import HEIGHT, WIDTH, pictures, units
from tests.unit.cluster.recording.test_recording_audio import AAC, OPUS, spoken
from tests.unit.cluster.recording.test_recording_segment import START_US

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
FRAMES = 30


@pytest.mark.parametrize(("codec", "b_frames"), [("h264", 0), ("h264", 2), ("hevc", 2)])
def test_frames_keep_their_times_and_get_the_mask(
    tmp_path: Path, codec: str, b_frames: int
) -> None:
    content = units(FRAMES, START_US, codec=codec, b_frames=b_frames)
    writer = SegmentWriter(tmp_path / "old.mp4", VideoFormat(codec, WIDTH, HEIGHT))
    for unit in content:
        writer.write(unit)
    old = writer.close()
    assert old is not None
    segment = segment_of("gate", old)
    done = paint_recording(old.path, segment, tmp_path / "new.mp4", MaskPainter((LEFT,)))
    assert done.lost == 0
    assert (done.file.start_us, done.file.end_us) == (segment.start_us, segment.end_us)
    assert done.file.tags.masked
    shown = pictures(done.file.path, done.file.origin_us)
    assert [at for at, _ in shown] == sorted(unit.capture_us for unit in content)
    for _, data in shown:
        luma = np.frombuffer(data, np.uint8)[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH)
        assert luma[:, : WIDTH // 2].max() <= 24


@pytest.mark.parametrize("form", [AAC, OPUS], ids=["aac", "opus"])
def test_sound_is_copied(tmp_path: Path, form: object) -> None:
    assert form in (AAC, OPUS)
    chosen = AAC if form is AAC else OPUS
    video = VideoFormat("h264", WIDTH, HEIGHT, AudioPlan(chosen))
    writer = SegmentWriter(tmp_path / "old.mp4", video)
    for unit in units(FRAMES, START_US):
        writer.write(unit)
    for sound in spoken(chosen):
        writer.write_audio(sound)
    old = writer.close()
    assert old is not None
    done = paint_recording(
        old.path, segment_of("gate", old), tmp_path / "new.mp4", MaskPainter((LEFT,))
    )
    assert done.file.audio == old.audio == chosen.codec
    before, after = (_sounds(file.path, file.origin_us) for file in (old, done.file))
    assert before
    assert [data for _, data in after] == [data for _, data in before]
    for (was_us, _), (is_us, _) in zip(before, after, strict=True):
        assert abs(was_us - is_us) < 100


def _sounds(path: Path, origin_us: int) -> list[tuple[int, bytes]]:
    """Capture time and bytes of each packet of sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [
            (origin_us + round(packet.pts * packet.time_base * 1_000_000), bytes(packet))
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None and packet.time_base is not None
        ]


def test_what_is_no_video_and_no_picture_is_refused(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "old.mp4", VideoFormat("h264", WIDTH, HEIGHT))
    for unit in units(10, START_US):
        writer.write(unit)
    old = writer.close()
    assert old is not None
    old.path.write_bytes(b"no video at all")
    with pytest.raises(InputError, match="cannot be read"):
        paint_recording(
            old.path, segment_of("gate", old), tmp_path / "new.mp4", MaskPainter((LEFT,))
        )
    with pytest.raises(InputError, match="cannot be decoded"):
        paint_jpeg(b"no picture", MaskPainter((LEFT,)))


unit_floats = st.floats(0.0, 1.0)


@given(st.tuples(unit_floats, unit_floats), st.tuples(unit_floats, unit_floats), st.data())
def test_no_pixel_of_a_mask_is_in_a_picture_that_it_does_not_touch(
    xs: tuple[float, float], ys: tuple[float, float], data: st.DataObject
) -> None:
    """Frames of 200x100; the crop as it is cut, the mask as it is painted."""
    box = (min(xs), min(ys), max(xs), max(ys))
    mask = tuple(data.draw(st.tuples(unit_floats, unit_floats)) for _ in range(3))
    if touches(box, (mask,)):
        return
    size = (200, 100)
    x1, y1, x2, y2 = crop_box((box[0] * 200, box[1] * 100, box[2] * 200, box[3] * 100), size)
    assert not [(x, y) for x, y in mask if x1 < x * 200 < x2 and y1 < y * 100 < y2]


def test_the_key_of_a_painted_file_says_when_it_begins() -> None:
    key = "recordings/gate/2026/01/31/1769846400000000.mp4"
    painted = painted_key(key, "ab" * 32)
    assert painted == "recordings/gate/2026/01/31/1769846400000000.abababababababab.mp4"
    assert painted_key(painted, "cd" * 32).endswith("/1769846400000000.cdcdcdcdcdcdcdcd.mp4")
    assert start_of(painted) == start_of(key) == 1_769_846_400_000_000
    assert start_of("recordings/gate/notes.txt") is None
