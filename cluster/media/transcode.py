"""Transcoding of what WebRTC cannot take (H.265, B-frames, MJPEG) to H.264 with low delay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from pipelines.errors import CameraError

KEY_FRAME_INTERVAL_S = 2.0
"""A new viewer waits at most this long; a PLI forces one earlier."""

# ultrafast + zerolatency: one picture in, one picture out. CRF 23 is x264's own default quality.
_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "bf": "0", "threads": "1"}
DEFAULT_FPS = 25


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One H.264 picture of the transcoder. `pts_s` is the source's presentation time, seconds."""

    data: bytes
    key_frame: bool
    width: int
    height: int
    pts_s: float | None


class PictureEncoder:
    """Encodes pictures of any size and format, one in, one out. One thread only.

    Follows size changes with a new encoder, whose first picture is a key frame.

    Args:
        fps: about how many come per second.
        touch: sees, and may change, each picture before it is encoded: yuv420p, its own memory.
    """

    def __init__(self, fps: Fraction, touch: Callable[[VideoFrame], None] | None = None) -> None:
        self._fps = fps
        self._touch = touch
        self._encoder: VideoCodecContext | None = None
        self._force_key_frame = False

    def request_key_frame(self) -> None:
        """Make the next picture a key frame, for a viewer who just came."""
        self._force_key_frame = True

    def encode(self, frame: VideoFrame) -> Iterator[EncodedPicture]:
        width, height = frame.width & ~1, frame.height & ~1  # 4:2:0 needs even sizes
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            encoder = self._encoder = self._new_encoder(width, height, frame)
        pts_s = frame.time
        picture = frame.reformat(
            width=width, height=height, format="yuv420p", dst_color_range="MPEG"
        )
        if self._touch is not None:
            # It may be the decoder's own, from which the next ones are predicted.
            picture.make_writable()
            self._touch(picture)
        picture.pts, picture.time_base = frame.pts, frame.time_base
        picture.pict_type = PictureType.I if self._force_key_frame else PictureType.NONE
        self._force_key_frame = False
        for packet in encoder.encode(picture):
            yield EncodedPicture(bytes(packet), packet.is_keyframe, width, height, pts_s)

    def _new_encoder(self, width: int, height: int, frame: VideoFrame) -> VideoCodecContext:
        encoder = av.CodecContext.create("libx264", "w")
        assert isinstance(encoder, VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base = frame.time_base or Fraction(1, 90_000)
        encoder.framerate = self._fps
        encoder.gop_size = max(1, round(self._fps * Fraction(KEY_FRAME_INTERVAL_S)))
        encoder.profile = "Constrained Baseline"
        encoder.options = dict(_OPTIONS) | {"forced-idr": "1"}
        return encoder


class Transcoder:
    """Decodes a stream's packets and encodes the pictures anew. One thread only."""

    def __init__(self, stream: VideoStream) -> None:
        self._decoder = stream.codec_context
        # Frame threads would add a frame of delay each; slices do not.
        self._decoder.thread_type = "SLICE"
        self._encoder = PictureEncoder(Fraction(stream.average_rate or DEFAULT_FPS))

    def request_key_frame(self) -> None:
        """Make the next picture a key frame, for a viewer who just came."""
        self._encoder.request_key_frame()

    def feed(self, packet: Packet[VideoStream]) -> Iterator[EncodedPicture]:
        """The pictures that come out when this packet goes in; a damaged packet yields none.

        Raises:
            CameraError: the codec is one that cannot be decoded here.
        """
        try:
            frames = self._decoder.decode(packet)
        except av.error.InvalidDataError:
            return
        except av.error.FFmpegError as error:
            raise CameraError(f"cannot decode {self._decoder.name}: {error.strerror}") from error
        for frame in frames:
            yield from self._encoder.encode(frame)
