"""Privacy masks, painted in before anything looks at a picture or keeps it. cv2 and numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.domain import Polygon
from pipelines.imaging import I420

BLACK = (16, 128, 128)
"""Y, U, V of black in limited range."""

# cv2 draws from corners in 1/16 of a pixel.
_SHIFT = 4
# A corner is off by 1/32, a line as drawn by 1/2, a pixel reaches 1/2 from its centre: with this
# many pixels around, every pixel that a mask so much as touches is painted.
_MARGIN = 2

_Raster = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Patch:
    """Where one mask lies in the chroma planes: its box, and the pixels within that are painted.

    Attributes:
        rows, columns: of the box, in pixels of the chroma planes.
        chroma: bool, the box's size; luma: bool, twice that.
    """

    rows: slice
    columns: slice
    chroma: _Raster
    luma: _Raster


class MaskPainter:
    """Paints the masks of one camera black. Follows the size of the pictures. Safe from any
    thread.

    Rasters are made on the half-size grid of the chroma planes, so that luma and colour end at the
    same places; a mask grows by two to three of those pixels on each side, and never shrinks.

    Args:
        masks: polygons in normalized coordinates; none paints nothing.
    """

    def __init__(self, masks: tuple[Polygon, ...]) -> None:
        self._masks = masks
        self._rasters: tuple[tuple[int, int], list[_Patch]] = ((0, 0), [])

    @property
    def masks(self) -> tuple[Polygon, ...]:
        return self._masks

    def paint(self, planes: I420) -> None:
        """Paint the masks into the picture, in place.

        Raises:
            ValueError: the planes cannot be written to.
        """
        if not self._masks:
            return
        # Read once: another thread may paint a picture of another size.
        size, patches = self._rasters
        if planes.size != size:
            patches = [patch for mask in self._masks if (patch := _patch(mask, planes.size))]
            self._rasters = (planes.size, patches)
        for patch in patches:
            rows, columns = patch.rows, patch.columns
            luma = planes.y[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
            # An odd picture's last row and column has half a chroma pixel.
            np.copyto(luma, BLACK[0], where=patch.luma[: luma.shape[0], : luma.shape[1]])
            np.copyto(planes.u[rows, columns], BLACK[1], where=patch.chroma)
            np.copyto(planes.v[rows, columns], BLACK[2], where=patch.chroma)


def _patch(mask: Polygon, size: tuple[int, int]) -> _Patch | None:
    """The raster of one mask in a picture of `size` (width, height) source pixels."""
    width, height = (size[0] + 1) // 2, (size[1] + 1) // 2
    # Half a source pixel is a quarter of a chroma pixel; cv2 counts from a pixel's centre.
    corners = np.array(mask) * (size[0] / 2, size[1] / 2) - 0.5
    raster = np.zeros((height, width), np.uint8)
    cv2.fillPoly(raster, [np.round(corners * 2**_SHIFT).astype(np.int32)], 1, shift=_SHIFT)
    around = np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8)
    painted = cv2.dilate(raster, around).astype(bool)
    rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
    if rows.size == 0:
        return None
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    chroma = painted[box]
    return _Patch(*box, chroma, chroma.repeat(2, axis=0).repeat(2, axis=1))
