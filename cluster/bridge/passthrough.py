"""The cheap path: H.264 without B-frames goes into the room as it came from the camera."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.error
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from cluster.media import h264
from cluster.media.capture_clock import pts_seconds
from cluster.media.transcode import EncodedFrame


class CannotPassError(Exception):
    """This stream has to be transcoded; the message is the camera's reason."""


class Passthrough:
    """Turns the packets of one H.264 stream into access units that a WebRTC decoder can start on.

    Args:
        stream: the open stream.

    Raises:
        CannotPassError: at construction or later, when the stream shows that it cannot pass.
    """

    def __init__(self, stream: VideoStream) -> None:
        context = stream.codec_context
        self._extradata = bytes(context.extradata or b"")
        self._check = h264.PassthroughCheck(context.name, self._extradata, context.has_b_frames)
        self._require_passable()
        self._parameter_sets = b""
        self._size = (context.width, context.height)

    def feed(self, packet: Packet[VideoStream]) -> Iterator[EncodedFrame]:
        """The access unit of this packet; none before the first key frame.

        Raises:
            CannotPassError: the packet shows that the stream cannot pass after all.
        """
        data = bytes(packet)
        pts_s = pts_seconds(packet.pts, packet.time_base)
        self._check.observe(data, pts_s)
        self._require_passable()
        data = h264.with_parameter_sets(data, self._extradata)
        key_frame = h264.is_key_frame(data)
        if key_frame:
            self._follow_size(data)
        if not self._parameter_sets or 0 in self._size:
            return  # nothing can be decoded yet
        yield EncodedFrame(data, key_frame, *self._size, pts_s)

    def _require_passable(self) -> None:
        if self._check.reason:
            raise CannotPassError(self._check.reason)

    def _follow_size(self, key_frame: bytes) -> None:
        """Day and night profiles of a camera may differ in size: ask a decoder, not the SDP."""
        sets = h264.parameter_sets(key_frame)
        if sets and sets != self._parameter_sets:
            self._parameter_sets = sets
            self._size = _decoded_size(key_frame) or self._size


def _decoded_size(key_frame: bytes) -> tuple[int, int] | None:
    """Width and height of one key frame with its parameter sets, or None where it is damaged."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    try:
        frames = [*decoder.decode(av.Packet(key_frame)), *decoder.decode(None)]
    except av.error.FFmpegError:
        return None
    return next(((frame.width, frame.height) for frame in frames), None)
