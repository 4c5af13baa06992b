"""Turns frames upright by their file's display matrix, as players do.

Phones and dashcams store what the sensor saw and note how the device was held: ISO/IEC 14496-12,
8.3.2, the matrix of a track. A frame (x, y) is shown at (a x + c y, b x + d y).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

# As FFmpeg holds it (libavutil/display.h): nine int32 in the machine's own order, row by row.
_MATRIX = struct.Struct("=9i")


@dataclass(frozen=True, slots=True)
class Orientation:
    """From a frame as it is stored to the same frame upright: transposed first, then flipped.

    Angles between quarter turns count as the nearest: a picture stays a rectangle.
    """

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """As the frame's file says; upright where it says nothing."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        return cls.of_matrix(bytes(matrix)) if isinstance(matrix, SideData) else UPRIGHT

    @classmethod
    def of_matrix(cls, matrix: bytes) -> Orientation:
        """As a display matrix says, in FFmpeg's form; upright where it has another length."""
        if len(matrix) != _MATRIX.size:
            return UPRIGHT
        a, b, _, c, d, *_ = _MATRIX.unpack(matrix)
        # In Python's integers: the file chose the numbers, and -2**31 has no absolute int32.
        if abs(c) > abs(a):
            return cls(True, flip_x=c < 0, flip_y=b < 0)
        return cls(False, flip_x=a < 0, flip_y=d < 0)

    def applied(self, plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """`plane`, uint8 (rows, columns), upright: itself where it is so already, else a copy."""
        if self == UPRIGHT:
            return plane
        turned = plane.T if self.transposed else plane
        flipped = turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(flipped)


UPRIGHT = Orientation()
