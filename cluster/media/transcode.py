"""Low-latency transcoding to H.264: of what WebRTC cannot carry (H.265, B-frames, MJPEG), and of
what privacy masks have to be painted into."""

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

from cluster.media.planes import planes_of
from pipelines.domain import Polygon
from pipelines.errors import CameraError
from pipelines.masking import MaskPainter

KEY_FRAME_INTERVAL_S = 2.0
"""A new viewer waits at most this long. A PLI requests a key frame earlier."""

# ultrafast and zerolatency: one frame in, one frame out. CRF 23 is x264's own default quality.
_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "bf": "0", "threads": "1"}
DEFAULT_FPS = 25
"""For streams that do not announce a rate; the usual rate of cameras."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One H.264 frame.

    Attributes:
        pts_s: presentation time in the source, seconds.
        masks: the privacy masks that are painted into it.
    """

    data: bytes
    key_frame: bool
    width: int
    height: int
    pts_s: float | None
    masks: tuple[Polygon, ...] = ()


_NO_MASKS = MaskPainter(())


class FrameEncoder:
    """Encodes frames of any size and format, one in, one out. Not thread-safe.

    A change of size or of the masks starts with a key frame.

    Args:
        fps: approximate frame rate.
        painter: called for each frame, so that new masks hold from the next frame on.
    """

    def __init__(
        self, fps: Fraction, painter: Callable[[], MaskPainter] = lambda: _NO_MASKS
    ) -> None:
        self._fps = fps
        self._painter = painter
        self._encoder: VideoCodecContext | None = None
        self._force_key_frame = False
        self._masks: tuple[Polygon, ...] = ()
        self._key_s: float | None = None

    def request_key_frame(self) -> None:
        """Make the next frame a key frame, for a new viewer."""
        self._force_key_frame = True

    def encode(self, frame: VideoFrame) -> Iterator[EncodedFrame]:
        """Encode a frame; yields the result at once. Masks are painted into the frame itself."""
        width, height = frame.width & ~1, frame.height & ~1  # 4:2:0 needs even sizes
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            encoder = self._encoder = self._new_encoder(width, height, frame)
        pts_s = frame.time
        prepared = frame.reformat(
            width=width, height=height, format="yuv420p", dst_color_range="MPEG"
        )
        masks = self._paint(prepared)
        prepared.pts, prepared.time_base = frame.pts, frame.time_base
        key_frame = self._force_key_frame or masks != self._masks or self._is_key_due(pts_s)
        prepared.pict_type = PictureType.I if key_frame else PictureType.NONE
        self._force_key_frame, self._masks = False, masks
        for packet in encoder.encode(prepared):
            if packet.is_keyframe:
                self._key_s = pts_s
            yield EncodedFrame(bytes(packet), packet.is_keyframe, width, height, pts_s, masks)

    def _paint(self, frame: VideoFrame) -> tuple[Polygon, ...]:
        painter = self._painter()
        if painter.masks:
            # The memory may belong to the decoder, which predicts later frames from it.
            frame.make_writable()
            painter.paint(planes_of(frame))
        return painter.masks

    def _is_key_due(self, pts_s: float | None) -> bool:
        """By time, because the encoder counts frames, and may not know the camera's rate."""
        if pts_s is None or self._key_s is None:
            return False
        return not 0 <= pts_s - self._key_s < KEY_FRAME_INTERVAL_S

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


class FrameDecoder:
    """Decodes a stream's packets. Not thread-safe."""

    def __init__(self, stream: VideoStream) -> None:
        self._decoder = stream.codec_context
        # Frame threads would add a frame of delay each; slices do not.
        self._decoder.thread_type = "SLICE"

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames that a packet completes; none for a damaged one.

        Raises:
            CameraError: this codec cannot be decoded here.
        """
        try:
            return self._decoder.decode(packet)
        except av.error.InvalidDataError:
            return []
        except av.error.FFmpegError as error:
            raise CameraError(f"cannot decode {self._decoder.name}: {error.strerror}") from error


def frame_rate(stream: VideoStream) -> Fraction:
    """The rate that a stream announces, or the usual one."""
    return Fraction(stream.average_rate or DEFAULT_FPS)


class Transcoder:
    """Decodes a stream's packets and re-encodes the frames. Not thread-safe."""

    def __init__(self, stream: VideoStream) -> None:
        self._decoder = FrameDecoder(stream)
        self._encoder = FrameEncoder(frame_rate(stream))

    def request_key_frame(self) -> None:
        """Make the next frame a key frame, for a new viewer."""
        self._encoder.request_key_frame()

    def feed(self, packet: Packet[VideoStream]) -> Iterator[EncodedFrame]:
        """Decode a packet and encode the resulting frames. A damaged packet yields none.

        Raises:
            CameraError: this codec cannot be decoded here.
        """
        for frame in self._decoder.decode(packet):
            yield from self._encoder.encode(frame)
