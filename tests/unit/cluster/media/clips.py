"""Small H.264 clips made with libx264, as packets."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np


@dataclass(frozen=True)
class Clip:
    """Encoded packets and the codec's extradata."""

    extradata: bytes
    packets: list[bytes]
    pts_s: list[float]
    reorder_depth: int
    profile: str


def encode(
    options: dict[str, str],
    *,
    frames: int = 40,
    gop: int = 10,
    size: tuple[int, int] = (128, 96),
    b_frames: int = 0,
    container: str = "h264",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
) -> Clip:
    """Encode a moving square into `container` (h264: Annex B; mp4 or flv: AVCC), demux it again."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options={"sc_threshold": "0", **options})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        if codec == "libx264":
            stream.codec_context.max_b_frames = b_frames
        for n in range(frames):
            picture = np.full((size[1], size[0], 3), 40, np.uint8)
            picture[20:50, (n * 3) % (size[0] - 30) :][:, :30] = (200, n * 6 % 255, 30)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return demux(io.BytesIO(buffer.getvalue()))


def demux(source: io.BytesIO | str) -> Clip:
    """The packets of the first video stream, as a demuxer yields them."""
    with av.open(source) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        base = stream.time_base or Fraction(1, 25)
        return Clip(
            extradata=stream.codec_context.extradata or b"",
            packets=[bytes(packet) for packet in packets],
            pts_s=[
                float((packet.pts if packet.pts is not None else n) * base)
                for n, packet in enumerate(packets)
            ],
            reorder_depth=stream.codec_context.reorder_depth,
            profile=stream.codec_context.profile or "",
        )


def decodes(data: list[bytes]) -> int:
    """Number of frames that a new decoder gets from Annex B access units, without extradata."""
    context = av.CodecContext.create("h264", "r")
    count = 0
    for au in data:
        count += len(context.decode(av.Packet(au)))
    return count + len(context.decode(None))
