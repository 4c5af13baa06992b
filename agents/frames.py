"""Frames as they come out of the room, and as pictures for people."""

from __future__ import annotations

from typing import cast

import simplejpeg
from livekit import rtc

from pipelines.imaging import I420

JPEG_QUALITY = 85


def planes_of(frame: rtc.VideoFrame) -> I420:
    """Views of a LiveKit frame's planes; any other buffer type than I420 is converted first."""
    if frame.type != rtc.VideoBufferType.I420:
        frame = frame.convert(rtc.VideoBufferType.I420)
    return I420.from_buffer(frame.data, frame.width, frame.height)


def to_jpeg(planes: I420, quality: int = JPEG_QUALITY) -> bytes:
    """The picture as JPEG, from the planes without colour conversion."""
    return cast("bytes", simplejpeg.encode_jpeg_yuv_planes(planes.y, planes.u, planes.v, quality))
