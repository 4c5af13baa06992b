"""Recording of a camera with privacy masks: frames are decoded, masked and re-encoded.

There is no cheaper way: the camera's packets contain what the masks hide. It costs about one decode
and one encode per frame, in the recorder's thread. A machine that is too slow drops frames of the
recording; the live view is not affected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
import av.error
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from cluster.media.planes import planes_of
from cluster.media.transcode import DEFAULT_FPS, KEY_FRAME_INTERVAL_S, FrameEncoder
from cluster.recording.audio import NO_AUDIO
from cluster.recording.segment import TIME_BASE, VideoFormat, VideoUnit
from pipelines.domain import Polygon
from pipelines.errors import InputError
from pipelines.masking import MaskPainter

BREAK_US = 2_000_000
"""After a pause of this length, frames before it no longer help to decode frames after it."""


class MaskedFrames:
    """Replaces a camera's frames with masked ones. Not thread-safe.

    Args:
        masks: at least one.

    Raises:
        ValueError: there are no masks.
    """

    def __init__(self, masks: tuple[Polygon, ...]) -> None:
        if not masks:
            raise ValueError("expected at least one mask")
        self._painter = MaskPainter(masks)
        self._video: VideoFormat | None = None
        self._decoder: VideoCodecContext | None = None
        self._encoder = self._new_encoder()
        self._base_us = self._last_us = self._key_us = 0

    def feed(self, unit: VideoUnit, video: VideoFormat) -> Iterator[tuple[VideoUnit, VideoFormat]]:
        """Feed one frame; yields the masked frames to record, in presentation order.

        Raises:
            InputError: the frame cannot be decoded; nothing of it is recorded.
        """
        if self._video is None or not _same_video(video, self._video):
            self._start(unit, video)
        elif not 0 < unit.decode_us - self._last_us < BREAK_US:
            self._start(unit, video)
        self._last_us, self._video = unit.decode_us, video
        assert self._decoder is not None
        packet = av.Packet(unit.data)
        packet.pts, packet.dts = unit.capture_us - self._base_us, unit.decode_us - self._base_us
        packet.time_base = TIME_BASE
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError as error:
            raise InputError(f"a frame cannot be masked: {error.strerror}.") from error
        for frame in frames:
            yield from self._encode(frame)

    def _start(self, unit: VideoUnit, video: VideoFormat) -> None:
        decoder = av.CodecContext.create(video.codec, "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.thread_type = "SLICE"  # frame threads would delay frames
        self._decoder, self._video = decoder, video
        self._encoder = self._new_encoder()
        # Codecs get times relative to this, which stay small enough for their arithmetic.
        self._base_us = unit.decode_us
        self._key_us = 0

    def _new_encoder(self) -> FrameEncoder:
        return FrameEncoder(Fraction(DEFAULT_FPS), self._paint)

    def _encode(self, frame: VideoFrame) -> Iterator[tuple[VideoUnit, VideoFormat]]:
        if frame.pts is None:
            return
        capture_us = self._base_us + frame.pts
        frame.time_base = TIME_BASE
        # By time, because the encoder counts frames and the camera's rate is its own.
        if capture_us - self._key_us >= KEY_FRAME_INTERVAL_S * 1e6:
            self._encoder.request_key_frame()
        audio = self._video.audio if self._video is not None else NO_AUDIO
        for encoded in self._encoder.encode(frame):
            if encoded.key_frame:
                self._key_us = capture_us
            yield (
                VideoUnit(encoded.data, encoded.key_frame, capture_us, capture_us),
                VideoFormat("h264", encoded.width, encoded.height, audio),
            )

    def _paint(self, frame: VideoFrame) -> None:
        self._painter.paint(planes_of(frame))


def _same_video(one: VideoFormat, other: VideoFormat) -> bool:
    """Whether the same decoder takes both. Audio does not matter."""
    return replace(one, audio=NO_AUDIO) == replace(other, audio=NO_AUDIO)
