"""Recording of a camera that has privacy masks: decoded, painted over, encoded anew.

There is no way around it: what the masks hide stands in the camera's own packets. It costs about a
decode and an encode of each picture, in the recorder's thread; where the machine is too slow for
it, pictures are dropped there, and the room does not notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from cluster.media.transcode import DEFAULT_FPS, KEY_FRAME_INTERVAL_S, PictureEncoder
from cluster.recording.segment import TIME_BASE, VideoFormat, VideoUnit
from cluster.recording.sound import NO_SOUND
from pipelines.domain import Polygon
from pipelines.errors import InputError
from pipelines.imaging import I420
from pipelines.masking import MaskPainter

BREAK_US = 2_000_000
"""After a pause of this length, the picture before it helps with none after it."""


class MaskedPictures:
    """Turns the units of a camera into units without what its masks hide. One thread only.

    Args:
        masks: at least one.
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
        """What is recorded when this unit goes in, in the order of showing.

        Raises:
            InputError: the unit cannot be decoded; nothing of it is recorded.
        """
        if self._video is None or not _alike(video, self._video):
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
            raise InputError(f"a picture cannot be masked: {error.strerror}.") from error
        for frame in frames:
            yield from self._encode(frame)

    def _start(self, unit: VideoUnit, video: VideoFormat) -> None:
        decoder = av.CodecContext.create(video.codec, "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.thread_type = "SLICE"  # frame threads would hold pictures back
        self._decoder, self._video = decoder, video
        self._encoder = self._new_encoder()
        # Times in the codecs are kept small: a second's fraction must fit beside them.
        self._base_us = unit.decode_us
        self._key_us = 0

    def _new_encoder(self) -> PictureEncoder:
        return PictureEncoder(Fraction(DEFAULT_FPS), self._paint)

    def _encode(self, frame: VideoFrame) -> Iterator[tuple[VideoUnit, VideoFormat]]:
        if frame.pts is None:
            return
        capture_us = self._base_us + frame.pts
        frame.time_base = TIME_BASE
        # By time: the encoder counts pictures, and cameras send as many as they like.
        if capture_us - self._key_us >= KEY_FRAME_INTERVAL_S * 1e6:
            self._encoder.request_key_frame()
        sound = self._video.sound if self._video is not None else NO_SOUND
        for made in self._encoder.encode(frame):
            if made.key_frame:
                self._key_us = capture_us
            yield (
                VideoUnit(made.data, made.key_frame, capture_us, capture_us),
                VideoFormat("h264", made.width, made.height, sound),
            )

    def _paint(self, frame: VideoFrame) -> None:
        self._painter.paint(I420(*(_pixels(plane) for plane in frame.planes)))


def _alike(one: VideoFormat, other: VideoFormat) -> bool:
    """Whether one decoder takes both; sound is nothing to it."""
    return replace(one, sound=NO_SOUND) == replace(other, sound=NO_SOUND)


def _pixels(plane: VideoPlane) -> npt.NDArray[np.uint8]:
    """The plane's memory, (height, width), without the padding of its rows."""
    rows: npt.NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
    return rows.reshape(-1, plane.line_size)[: plane.height, : plane.width]
