"""What leaves a masked camera's transcoder: each frame at its time, without what a mask covers."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer
from hypothesis import given
from hypothesis import strategies as st

from cluster.bridge.masked import (
    MAX_LAG_S,
    NOT_DECODED,
    PATIENCE_S,
    TOO_SLOW,
    Backlog,
    MaskedVideo,
)
from cluster.media.transcode import EncodedFrame, FrameEncoder
from pipelines.domain import Polygon
from pipelines.errors import UnavailableError
from pipelines.masking import MaskPainter

LEFT: tuple[Polygon, ...] = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)
RIGHT: tuple[Polygon, ...] = (((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)),)
WIDTH, HEIGHT, FRAMES = 64, 48, 35
NEAR = 14
"""Levels that two lossy encodings may add up to."""
STEP_S = 0.04


@dataclass
class Room:
    """The unmasked room, as a transcoder sees it."""

    watched: bool = False
    asked: bool = False

    def key_frame_requested(self) -> bool:
        return self.asked


def grey(n: int) -> int:
    return 40 + (n * 37) % 160


@contextmanager
def stream(encoder: str, b_frames: int = 0) -> Iterator[InputContainer]:
    """FRAMES frames, of which frame n is all grey(n)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        video = output.add_stream(encoder, rate=25, options={"bf": str(b_frames)})
        video.width, video.height, video.pix_fmt, video.gop_size = WIDTH, HEIGHT, "yuv420p", 10
        video.codec_context.max_b_frames = b_frames
        for n in range(FRAMES):
            pixels = np.full((HEIGHT * 3 // 2, WIDTH), grey(n), np.uint8)
            pixels[HEIGHT:] = 128
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    buffer.seek(0)
    with av.open(buffer) as source:
        yield source


class Transcoding:
    """Runs a whole stream through `MaskedVideo`, with masks and watchers that may change."""

    def __init__(self, source: InputContainer, room: Room | None = None) -> None:
        self.painter = MaskPainter(LEFT)
        self._source = source
        self._video = MaskedVideo(
            source.streams.video[0],
            lambda: self.painter,
            room,  # type: ignore[arg-type]
            0.0,
        )

    def __iter__(self) -> Iterator[tuple[EncodedFrame, EncodedFrame | None]]:
        for packet in self._source.demux(video=0):
            for frame in self._video.decode(packet, 0.0):
                masked, bare = self._video.encode(frame, 0.0)
                assert masked is not None
                yield masked, bare


def decoded(made: list[EncodedFrame]) -> list[npt.NDArray[np.uint8]]:
    """Y planes."""
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for one in made for frame in decoder.decode(av.Packet(one.data))]
    frames += decoder.decode(None)
    return [frame.to_ndarray(format="yuv420p")[:HEIGHT] for frame in frames]


@pytest.mark.parametrize(("encoder", "b_frames"), [("libx264", 0), ("libx264", 2), ("libx265", 0)])
def test_masked_areas_are_black_and_frames_keep_their_time(encoder: str, b_frames: int) -> None:
    with stream(encoder, b_frames) as source:
        made = [masked for masked, _ in Transcoding(source)]
    assert len(made) == FRAMES
    assert [one.pts_s for one in made] == pytest.approx([n * STEP_S for n in range(FRAMES)])
    assert {one.masks for one in made} == {LEFT}
    for n, pixels in enumerate(decoded(made)):
        assert abs(int(pixels[:, : WIDTH // 2].max()) - 16) <= NEAR
        assert abs(float(pixels[:, WIDTH // 2 + 16 :].mean()) - grey(n)) <= NEAR


def test_new_masks_begin_with_a_key_frame_that_has_them() -> None:
    made: list[EncodedFrame] = []
    with stream("libx264") as source:
        transcoding = Transcoding(source)
        for n, (masked, _) in enumerate(transcoding):
            made.append(masked)
            if n == 6:
                transcoding.painter = MaskPainter(RIGHT)
    assert [one.masks for one in made] == [LEFT] * 7 + [RIGHT] * (FRAMES - 7)
    assert made[7].key_frame
    # A viewer who comes with the new masks can decode from there, and sees nothing below them.
    for pixels in decoded(made[7:]):
        assert abs(int(pixels[:, WIDTH // 2 :].max()) - 16) <= NEAR


def test_frames_without_masks_are_made_only_while_somebody_sees_them() -> None:
    room = Room()
    bare: list[EncodedFrame | None] = []
    with stream("libx264") as source:
        for n, (_, one) in enumerate(Transcoding(source, room)):
            bare.append(one)
            room.watched = 4 <= n < 20 or n >= 25
    assert [one is not None for one in bare] == [5 <= n < 21 or n >= 26 for n in range(FRAMES)]
    first, again = bare[5], bare[26]
    assert first is not None
    assert again is not None
    assert (first.key_frame, again.key_frame) == (True, True)
    seen = [one for one in bare[5:21] if one is not None]
    assert {one.masks for one in seen} == {()}
    for n, pixels in enumerate(decoded(seen), start=5):
        assert abs(float(pixels.mean()) - grey(n)) <= NEAR


def test_a_viewer_of_the_unmasked_room_gets_a_key_frame_when_asking() -> None:
    room = Room(watched=True)
    keys = []
    with stream("libx264") as source:
        for n, (_, one) in enumerate(Transcoding(source, room)):
            assert one is not None
            keys.append(one.key_frame)
            room.asked = n == 8
    assert keys == [n in (0, 9) for n in range(FRAMES)]


def test_nothing_masked_for_too_long_is_an_error_that_says_why() -> None:
    with stream("libx264") as source:
        broken = av.Packet(b"\x00\x00\x00\x05\x65" + bytes(40))
        video = MaskedVideo(source.streams.video[0], lambda: MaskPainter(LEFT), None, 0.0)
        assert video.decode(broken, PATIENCE_S) == []
        with pytest.raises(UnavailableError) as blind:
            video.decode(broken, PATIENCE_S + 0.1)
        assert blind.value.message == NOT_DECODED
    with stream("libx264") as source:
        packets = list(source.demux(video=0))
        video = MaskedVideo(source.streams.video[0], lambda: MaskPainter(LEFT), None, 0.0)
        frames = [frame for packet in packets[:9] for frame in video.decode(packet, 1.0)]
        video.encode(frames[0], 2.0)
        frames = [frame for packet in packets[9:15] for frame in video.decode(packet, 16.9)]
        assert frames
        with pytest.raises(UnavailableError) as slow:
            video.decode(packets[15], 2.0 + PATIENCE_S + 0.1)
        assert slow.value.message == TOO_SLOW


def test_slow_cameras_get_key_frames_by_time() -> None:
    encoder = FrameEncoder(Fraction(25), lambda: MaskPainter(LEFT))
    keys = []
    for n in range(12):
        pixels = np.full((HEIGHT * 3 // 2, WIDTH), 90, np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        frame.pts, frame.time_base = n * 2, Fraction(1, 5)  # 2.5 frames/s
        keys += [n * 0.4 for made in encoder.encode(frame) if made.key_frame]
    assert keys == pytest.approx([0.0, 2.0, 4.0])
    assert all(b - a <= 2.0 + 1e-6 for a, b in itertools.pairwise(keys))


# ------------------------------------------------------------ falling behind


@given(
    st.floats(-0.0009, 0.0009),
    st.lists(st.floats(0.0, 1.9), min_size=1, max_size=30),
)
def test_neither_jitter_nor_a_wrong_clock_makes_a_frame_late(
    drift: float, delays: list[float]
) -> None:
    backlog = Backlog()
    for n in range(2_000):  # over half an hour, a frame each second
        lag_s = backlog.lag_s(n * (1 + drift), 50.0 + n + delays[n % len(delays)])
        assert 0 <= lag_s <= MAX_LAG_S


@pytest.mark.parametrize("speed", [0.5, 0.9, 0.97])
def test_a_transcoder_that_is_too_slow_falls_behind_for_good(speed: float) -> None:
    backlog = Backlog()
    lags = [backlog.lag_s(n / 25, n / 25 / speed) for n in range(25 * 120)]
    first = next(n for n, lag_s in enumerate(lags) if lag_s > MAX_LAG_S)
    # It takes as long as it needs to lose two seconds.
    assert first / 25 == pytest.approx(MAX_LAG_S / (1 / speed - 1), rel=0.05)
    assert min(lags[first:]) > MAX_LAG_S


def test_what_is_left_out_lets_it_catch_up() -> None:
    backlog = Backlog()
    now_s, left_out = 0.0, []
    for n in range(25 * 20):
        now_s = max(now_s, n / 25) + 0.01  # decoding
        late = backlog.lag_s(n / 25, now_s) > MAX_LAG_S
        left_out.append(late)
        now_s += 0.0 if late else (0.5 if n < 50 else 0.02)  # painting and encoding
    assert any(left_out)
    assert not any(left_out[-100:])


def test_a_camera_that_starts_its_time_anew_is_not_late() -> None:
    backlog = Backlog()
    assert backlog.lag_s(5_000.0, 10.0) == 0.0
    assert backlog.lag_s(0.0, 10.04) == 0.0
    assert backlog.lag_s(90_000.0, 10.08) == 0.0
    assert backlog.lag_s(None, 99.0) == 0.0
