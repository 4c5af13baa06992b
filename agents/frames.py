"""Frames as they come out of the room: I420 planes, looked at without a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import simplejpeg
from livekit import rtc

JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class I420Frame:
    """One picture in planes; views of one buffer, which they keep alive.

    Attributes:
        y: uint8 (height, width).
        u: uint8 (ceil(height / 2), ceil(width / 2)).
        v: uint8, as `u`.
    """

    y: npt.NDArray[np.uint8]
    u: npt.NDArray[np.uint8]
    v: npt.NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """Width, height in source pixels."""
        return self.y.shape[1], self.y.shape[0]

    @classmethod
    def of(cls, frame: rtc.VideoFrame) -> I420Frame:
        """Views of a LiveKit frame; any other buffer type than I420 is converted first."""
        if frame.type != rtc.VideoBufferType.I420:
            frame = frame.convert(rtc.VideoBufferType.I420)
        width, height = frame.width, frame.height
        half_width, half_height = (width + 1) // 2, (height + 1) // 2
        data = np.frombuffer(frame.data, np.uint8)
        luma, chroma = width * height, half_width * half_height
        return cls(
            data[:luma].reshape(height, width),
            data[luma : luma + chroma].reshape(half_height, half_width),
            data[luma + chroma : luma + 2 * chroma].reshape(half_height, half_width),
        )

    def to_jpeg(self, quality: int = JPEG_QUALITY) -> bytes:
        """The picture as JPEG, from the planes without colour conversion."""
        return cast("bytes", simplejpeg.encode_jpeg_yuv_planes(self.y, self.u, self.v, quality))
