"""Small H.264 clips made with libx264, as packets."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from cluster.media.h264 import START_CODE, NalType, iter_nal_units, nal_type, parameter_sets


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
    """Encode a moving square into `container`, demux it again (see `demux`)."""
    buffer = io.BytesIO()
    _write(buffer, container, options, frames, gop, size, b_frames, codec, pix_fmt)
    return demux(io.BytesIO(buffer.getvalue()))


def encode_file(
    path: Path,
    options: dict[str, str],
    *,
    b_frames: int = 0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
) -> Path:
    """The same, as a file; what it holds is told by its suffix."""
    with path.open("wb") as file:
        _write(file, path.suffix[1:], options, 40, 10, (128, 96), b_frames, codec, pix_fmt)
    return path


def _write(
    target: BinaryIO,
    container: str,
    options: dict[str, str],
    frames: int,
    gop: int,
    size: tuple[int, int],
    b_frames: int,
    codec: str,
    pix_fmt: str,
) -> None:
    with av.open(target, "w", format=container) as output:
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


def demux(source: io.BytesIO | str) -> Clip:
    """The packets of the first video stream, as an RTSP demuxer yields them.

    From MP4 and FLV: as of a camera that tells its parameter sets in the description alone.
    """
    with av.open(source) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        base = stream.time_base or Fraction(1, 25)
        extradata, data = stream.codec_context.extradata or b"", [bytes(p) for p in packets]
        if extradata.startswith(b"\x01"):
            extradata, data = _as_rtsp(stream, packets)
        return Clip(
            extradata=extradata,
            packets=data,
            pts_s=[
                float((packet.pts if packet.pts is not None else n) * base)
                for n, packet in enumerate(packets)
            ],
            reorder_depth=stream.codec_context.reorder_depth,
            profile=stream.codec_context.profile or "",
        )


def _as_rtsp(stream: VideoStream, packets: list[Packet[VideoStream]]) -> tuple[bytes, list[bytes]]:
    """Parameter sets, and access units without any."""
    annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
    copies = [av.Packet(bytes(packet)) for packet in packets]
    for copy, packet in zip(copies, packets, strict=True):
        copy.is_keyframe = packet.is_keyframe
    units = [b"".join(bytes(out) for out in annex_b.filter(copy)) for copy in copies]
    return parameter_sets(units[0]), [
        b"".join(
            START_CODE + nal
            for nal in iter_nal_units(unit)
            if nal_type(nal) not in (NalType.SPS, NalType.PPS)
        )
        for unit in units
    ]


def decodes(data: list[bytes]) -> int:
    """Number of frames that a new decoder gets from Annex B access units, without extradata."""
    context = av.CodecContext.create("h264", "r")
    count = 0
    for au in data:
        count += len(context.decode(av.Packet(au)))
    return count + len(context.decode(None))
