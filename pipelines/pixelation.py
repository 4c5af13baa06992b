"""Hides parts of frames: as a mosaic of large cells, or grey. cv2 and numpy only."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.anonymisation import HideStyle, Region
from pipelines.imaging import I420

Pixels = npt.NDArray[np.uint8]

GREY = 128
"""Of all three planes, and of all three colours."""


def hide_i420(planes: I420, regions: Iterable[Region], style: HideStyle) -> None:
    """Hide regions of a frame, in place.

    Raises:
        ValueError: the planes are read-only.
    """
    for x1, y1, x2, y2, cell in regions:
        _hide(planes.y[y1:y2, x1:x2], cell, style)
        rows, columns = slice(y1 // 2, (y2 + 1) // 2), slice(x1 // 2, (x2 + 1) // 2)
        for plane in (planes.u, planes.v):
            _hide(plane[rows, columns], ceil(cell / 2), style)


def hide_rgb(rgb: Pixels, regions: Iterable[Region], style: HideStyle) -> None:
    """The same for an RGB image, uint8 (height, width, 3)."""
    for x1, y1, x2, y2, cell in regions:
        _hide(rgb[y1:y2, x1:x2], cell, style)


def _hide(part: Pixels, cell: int, style: HideStyle) -> None:
    if style is HideStyle.FILL:
        part[...] = GREY
        return
    height, width = part.shape[:2]
    cells = ceil(width / cell), ceil(height / cell)
    # The mean of each cell, and nothing else of it.
    means = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
    part[...] = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
