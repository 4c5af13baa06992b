"""The memory of decoded frames, as planes to paint on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from pipelines.imaging import I420


def planes_of(frame: VideoFrame) -> I420:
    """The planes of a yuv420p frame, without row padding: views, through which it is painted."""
    return I420(*(_pixels(plane) for plane in frame.planes))


def _pixels(plane: VideoPlane) -> npt.NDArray[np.uint8]:
    """uint8 (height, width)."""
    rows: npt.NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
    return rows.reshape(-1, plane.line_size)[: plane.height, : plane.width]
