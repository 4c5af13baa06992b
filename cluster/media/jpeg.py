"""JPEG encoding of frames."""

from __future__ import annotations

from typing import cast

import simplejpeg

from pipelines.imaging import I420

JPEG_QUALITY = 85
"""As `pipelines.imaging.CROP_QUALITY`."""


def to_jpeg(planes: I420, quality: int = JPEG_QUALITY) -> bytes:
    """Encode a frame as JPEG, directly from its planes without colour conversion."""
    return cast("bytes", simplejpeg.encode_jpeg_yuv_planes(planes.y, planes.u, planes.v, quality))
