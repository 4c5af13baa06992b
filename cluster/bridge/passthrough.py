"""The cheap path: H.264 without B-frames goes into the room as it came from the camera."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.error
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cluster.bridge.transcode import EncodedPicture
from cluster.media import h264


class CannotPassError(Exception):
    """This stream has to be transcoded; the message says why, in words for the camera's state."""


class Passthrough:
    """Turns the packets of one H.264 stream into access units that a WebRTC decoder can start on.

    Args:
        stream: the open stream.

    Raises:
        CannotPassError: at construction or later, when the stream shows that it cannot pass.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._check = h264.PassthroughCheck(stream.codec_context)
        self._require_passable()
        self._parameter_sets = h264.annexb_extradata(stream.codec_context.extradata or b"")
        self._size = (stream.codec_context.width, stream.codec_context.height)

    def feed(self, packet: Packet) -> Iterator[EncodedPicture]:
        """The access unit of this packet; none before the first key frame.

        Raises:
            CannotPassError: the packet shows B-frames.
        """
        self._check.observe(packet.pts, packet.dts)
        self._require_passable()
        data = h264.to_annexb(bytes(packet), self._stream.codec_context.extradata or b"")
        key_frame = h264.is_key_frame(data)
        if key_frame:
            data = self._with_parameter_sets(data)
        if not self._parameter_sets or 0 in self._size:
            return  # nothing can be decoded yet
        pts = packet.pts
        base = packet.time_base
        pts_s = float(pts * base) if pts is not None and base is not None else None
        yield EncodedPicture(data, key_frame, *self._size, pts_s)

    def _require_passable(self) -> None:
        if self._check.reason:
            raise CannotPassError(self._check.reason)

    def _with_parameter_sets(self, data: bytes) -> bytes:
        in_band = h264.parameter_sets(data)
        if in_band and in_band != self._parameter_sets:
            # Day and night profiles of a camera may differ in size: ask a decoder, not a parser.
            self._parameter_sets = in_band
            self._size = _decoded_size(data) or self._size
        return data if in_band else self._parameter_sets + data


def _decoded_size(key_frame: bytes) -> tuple[int, int] | None:
    """Width and height of one key frame with its parameter sets, or None where it is damaged."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    try:
        frames = [*decoder.decode(av.Packet(key_frame)), *decoder.decode(None)]
    except av.error.FFmpegError:
        return None
    return next(((f.width, f.height) for f in frames if isinstance(f, VideoFrame)), None)
