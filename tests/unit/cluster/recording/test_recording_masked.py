"""Masked areas are in no recorded frame; everything else is, at its time."""

from __future__ import annotations

import itertools
from collections import deque

import av
import numpy as np
import numpy.typing as npt
import pytest

from cluster.recording.masked import MaskedFrames
from cluster.recording.segment import VideoFormat, VideoUnit
from pipelines.errors import InputError
from tests.unit.cluster.recording.test_recording_segment import (
    CODECS,
    FRAMES,
    HEIGHT,
    WIDTH,
    capture_us,
    grey,
    units,
)

LEFT_HALF = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)
NEAR = 14
"""Levels that two lossy encodings may add up to."""


def decoded(made: list[VideoUnit]) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    decoder = av.CodecContext.create("h264", "r")
    times = deque(unit.capture_us for unit in made)
    frames = [frame for unit in made for frame in decoder.decode(av.Packet(unit.data))]
    frames += decoder.decode(None)
    return [(times.popleft(), frame.to_ndarray(format="yuv420p")) for frame in frames]


@pytest.mark.parametrize(("encoder", "codec", "b_frames"), CODECS)
def test_masked_areas_are_black_and_frames_keep_their_time(
    encoder: str, codec: str, b_frames: int
) -> None:
    masked = MaskedFrames(LEFT_HALF)
    video = VideoFormat(codec, WIDTH, HEIGHT)
    made = [made for unit in units(encoder, b_frames) for made in masked.feed(unit, video)]
    assert {video for _, video in made} == {VideoFormat("h264", WIDTH, HEIGHT)}
    assert all(unit.capture_us == unit.decode_us for unit, _ in made)
    shown = decoded([unit for unit, _ in made])
    # A reordering decoder still holds the last frames.
    assert len(shown) >= FRAMES - 2 * b_frames - 2
    for n, (at_us, pixels) in enumerate(shown):
        assert at_us == capture_us(n)
        hidden, rest = pixels[:HEIGHT, : WIDTH // 2], pixels[:HEIGHT, WIDTH // 2 + 16 :]
        assert abs(int(hidden.max()) - 16) <= NEAR
        assert abs(float(rest.mean()) - grey(n)) <= NEAR


def test_key_frames_come_by_time_and_after_a_pause() -> None:
    masked = MaskedFrames(LEFT_HALF)
    video = VideoFormat("h264", WIDTH, HEIGHT)
    stream = units("libx264", 0)
    slow = [
        VideoUnit(u.data, u.key_frame, u.capture_us + n * 360_000, u.decode_us + n * 360_000)
        for n, u in enumerate(stream)  # 2.5 frames/s
    ]
    late = slow[-1].capture_us + 10_000_000 - stream[0].capture_us
    again = [
        VideoUnit(u.data, u.key_frame, u.capture_us + late, u.decode_us + late) for u in stream
    ]
    made = [unit for sent in slow + again for unit, _ in masked.feed(sent, video)]
    keys = [unit.capture_us for unit in made if unit.key_frame]
    gaps = [b - a for a, b in itertools.pairwise(keys)]
    assert all(gap <= 2_400_000 for gap in gaps if gap < 9_000_000)
    assert again[0].capture_us in keys


def test_undecodable_frames_are_not_recorded() -> None:
    masked = MaskedFrames(LEFT_HALF)
    video = VideoFormat("h264", WIDTH, HEIGHT)
    broken = VideoUnit(b"\x00\x00\x00\x01\x65" + bytes(40), True, 1_000_000, 1_000_000)
    with pytest.raises(InputError, match="masked"):
        list(masked.feed(broken, video))
