"""Privacy masks, painted before a frame is analysed or stored. cv2 and numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.domain import Polygon
from pipelines.imaging import I420

BLACK = (16, 128, 128)
"""Y, U, V of black in limited range."""

# Fractional bits of cv2's corner coordinates: 1/16 of a pixel.
_SHIFT = 4
# Rounding moves a corner by 1/32 and a drawn line by 1/2, and a pixel extends 1/2 from its centre:
# with this dilation, in pixels, every pixel that a mask touches is painted.
_MARGIN = 2

_Raster = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Patch:
    """The raster of one mask: its bounding box in the chroma planes, and the pixels to paint.

    Attributes:
        rows, columns: of the box, in pixels of the chroma planes.
        chroma: bool (rows, columns) of the box.
        luma: bool, twice that size.
    """

    rows: slice
    columns: slice
    chroma: _Raster
    luma: _Raster


class MaskPainter:
    """Paints the masks of one camera black. Adapts to the frame size. Thread-safe.

    Masks are rasterized on the half-size grid of the chroma planes, so that luma and chroma end at
    the same positions. A mask grows by two to three of those pixels on each side and never shrinks.

    Args:
        masks: polygons in normalized coordinates.
    """

    def __init__(self, masks: tuple[Polygon, ...]) -> None:
        self._masks = masks
        self._rasters: tuple[tuple[int, int], list[_Patch]] = ((0, 0), [])

    @property
    def masks(self) -> tuple[Polygon, ...]:
        return self._masks

    def paint(self, planes: I420) -> None:
        """Paint the masks into the frame, in place.

        Raises:
            ValueError: the planes are read-only.
        """
        if not self._masks:
            return
        # Read once: another thread may paint a frame of another size.
        size, patches = self._rasters
        if planes.size != size:
            patches = [patch for mask in self._masks if (patch := _patch(mask, planes.size))]
            self._rasters = (planes.size, patches)
        for patch in patches:
            rows, columns = patch.rows, patch.columns
            luma = planes.y[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
            # At odd sizes, the last row and column cover half a chroma pixel.
            np.copyto(luma, BLACK[0], where=patch.luma[: luma.shape[0], : luma.shape[1]])
            np.copyto(planes.u[rows, columns], BLACK[1], where=patch.chroma)
            np.copyto(planes.v[rows, columns], BLACK[2], where=patch.chroma)


def _patch(mask: Polygon, size: tuple[int, int]) -> _Patch | None:
    """Rasterize one mask for a frame of `size` (width, height) source pixels; None if empty."""
    width, height = (size[0] + 1) // 2, (size[1] + 1) // 2
    # Convert to chroma pixels; cv2 measures from a pixel's centre, hence 0.5.
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
