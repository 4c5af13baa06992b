"""Frames as pictures for people."""

from __future__ import annotations

from typing import cast

import simplejpeg

from pipelines.imaging import I420

JPEG_QUALITY = 85


def to_jpeg(planes: I420, quality: int = JPEG_QUALITY) -> bytes:
    """The picture as JPEG, from the planes without colour conversion."""
    return cast("bytes", simplejpeg.encode_jpeg_yuv_planes(planes.y, planes.u, planes.v, quality))
