"""Small videos in every container, whose frames show their number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipelines.imaging import I420

SIZE = (128, 96)
BITS = 10
SQUARE = 12


def make_video(
    path: Path,
    *,
    frames: int = 100,
    fps: int = 25,
    gop: int = 10,
    codec: str = "libx264",
    b_frames: int = 0,
    options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    offset: int = 0,
) -> Path:
    """Encode a video; the suffix chooses the container. `offset`: time of the first frame, in
    frames."""
    chosen = {"sc_threshold": "0", **(options or {})} if codec == "libx264" else dict(options or {})
    with av.open(str(path), "w") as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=fps, options=chosen)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(_image(number), "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number + offset, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _image(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    frame = np.full((SIZE[1], SIZE[0]), 40, np.uint8)
    for bit in range(BITS):
        frame[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = 220 if number >> bit & 1 else 30
    frame[40:70, (number * 3) % (SIZE[0] - 30) :][:, :30] = 200
    return frame


def number_of(planes: I420) -> int:
    """The number that a frame shows."""
    half = SQUARE // 2
    row = planes.y[half - 2 : half + 2, : BITS * SQUARE].mean(axis=0)
    return sum(1 << bit for bit in range(BITS) if row[bit * SQUARE + half] > 125)
