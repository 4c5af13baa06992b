"""Where in the picture something moves, from luma at low resolution. Pure; cv2 and numpy only.

The background of a pixel is the range of its values in pictures of the last seconds, one of each
second: what sways or flickers widens its own range, and noise raises the threshold of the whole
picture. Nothing older than `MEMORY_S` matters. So two watchers that joined at different times, or a
watcher and a job, see the same movement in the same frames, which a background that is averaged
for ever cannot promise.

A picture in which most has changed at once shows another light (exposure, infrared): it is a new
background, not movement.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.uint8]
Grid = npt.NDArray[np.bool_]

S = 1_000_000
"""Microseconds per second."""

LONGER_SIDE = 160
"""Pixels of the longer side of the small picture. A person of 20x50 px in 640x360 has 60 there."""
CELL = 8
"""Side of a cell of the grid of movement, in pixels of the small picture."""

MEMORY_S = 12
"""How many pictures the background consists of, one of each second."""
COLD = 3
"""With fewer of them nothing is known yet."""
TRIM = 2
"""What a pixel was in this many of them counts for nothing: somebody went past."""

# A pixel has changed if it is outside its range by `FLOOR`, and by twice the median width of all
# ranges. Noise with a standard deviation of 4 in the small picture then changes one pixel in 5,000.
FLOOR = 8
RANGES = 2.0
# Changed pixels within a square of CELL that make a movement, after specks and lines of one pixel
# were removed; and how many more for each one, on average in such a square, that was removed: where
# it rains or snows, some drops touch.
ENOUGH = 6
PER_SPECK = 4
# Movement is confirmed by movement nearby in the picture before, at most this many cells away: at
# 10 pictures/s, who crosses the picture in 1 s moves by two.
NEARBY = 2
# Share of the pixels that must have changed for another light. People who fill that much of the
# picture are within arm's length of the camera; they cost a new background.
FLOOD = 0.5

_SMALLEST = np.ones((2, 2), np.uint8)
_SWAY = np.ones((3, 3), np.uint8)
_AROUND = np.ones((2 * NEARBY + 1, 2 * NEARBY + 1), np.uint8)


def small_luma(luma: Luma) -> Luma:
    """The picture with a longer side of `LONGER_SIDE`.

    Args:
        luma: uint8 (height, width).

    Returns:
        uint8 (height, width), at least one cell each way.
    """
    height, width = luma.shape
    scale = LONGER_SIDE / max(height, width)
    size = (max(CELL, round(width * scale)), max(CELL, round(height * scale)))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)


def widened(grid: Grid) -> Grid:
    """The cells, and those up to `NEARBY` cells away."""
    return cv2.dilate(grid.view(np.uint8), _AROUND).view(np.bool_)


class Movement:
    """Movement in the pictures of one camera.

    Attributes:
        known: whether the last picture could be compared with a background, and the one before.
    """

    def __init__(self) -> None:
        self._pictures: deque[tuple[int, Luma]] = deque(maxlen=MEMORY_S)
        self._range: tuple[Luma, Luma] | None = None
        self._threshold = 0
        self._before: Grid | None = None
        self.known = False

    def observe(self, at_us: int, luma: Luma) -> Grid:
        """The cells in which something moves.

        Args:
            at_us: capture time; pictures come in its order.
            luma: of `small_luma`.

        Returns:
            bool (rows, columns) of cells; all False where nothing is `known`.
        """
        self._forget(at_us, luma)
        cells = _cells(luma, *self._range, self._threshold) if self._range else None
        if cells is None and self._range is not None:
            self._restart()
        self._remember(at_us, luma)
        before, self._before = self._before, cells
        self.known = before is not None and cells is not None
        if before is None or cells is None:
            return np.zeros(grid_shape(luma.shape), np.bool_)
        confirmed: Grid = cells & widened(before)
        return confirmed

    def _forget(self, at_us: int, luma: Luma) -> None:
        """What is too old, or of another picture; all of it where the clock was set back."""
        last = self._pictures[-1] if self._pictures else None
        if last is not None and (last[1].shape != luma.shape or last[0] > at_us // S):
            self._restart()
        count = len(self._pictures)
        while self._pictures and self._pictures[0][0] < at_us // S - MEMORY_S:
            self._pictures.popleft()
        if len(self._pictures) != count:
            self._learn()

    def _remember(self, at_us: int, luma: Luma) -> None:
        if not self._pictures or self._pictures[-1][0] != at_us // S:
            self._pictures.append((at_us // S, luma))
            self._learn()

    def _restart(self) -> None:
        self._pictures.clear()
        self._range = self._before = None

    def _learn(self) -> None:
        count = len(self._pictures)
        if count < COLD:
            self._range = None
            return
        trim = min(TRIM, (count - 1) // 2)
        ordered = np.sort(np.stack([picture for _, picture in self._pictures]), axis=0)
        low, high = ordered[trim], ordered[count - 1 - trim]
        # What sways by a pixel is not outside; nor is what a camera on a mast sees.
        self._range = (
            np.asarray(cv2.erode(low, _SWAY), np.uint8),
            np.asarray(cv2.dilate(high, _SWAY), np.uint8),
        )
        self._threshold = round(FLOOR + RANGES * float(np.median(high - low)))


def grid_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the grid of a small picture of this shape (height, width)."""
    return (-(-shape[0] // CELL), -(-shape[1] // CELL))


def _cells(luma: Luma, low: Luma, high: Luma, threshold: int) -> Grid | None:
    """Cells with movement, bool (rows, columns); None: another light."""
    outside = cv2.max(cv2.subtract(luma, high), cv2.subtract(low, luma))
    changed = cv2.threshold(outside, threshold, 1, cv2.THRESH_BINARY)[1]
    if cv2.countNonZero(changed) > FLOOD * changed.size:
        return None
    solid = cv2.morphologyEx(changed, cv2.MORPH_OPEN, _SMALLEST)
    specks = (cv2.countNonZero(changed) - cv2.countNonZero(solid)) * CELL**2 / changed.size
    counts = cv2.boxFilter(solid, -1, (CELL, CELL), normalize=False)
    rows, columns = grid_shape(luma.shape)
    padded = np.zeros((rows * CELL, columns * CELL), np.bool_)
    padded[: luma.shape[0], : luma.shape[1]] = counts >= ENOUGH + PER_SPECK * specks
    return np.asarray(padded.reshape(rows, CELL, columns, CELL).any(axis=(1, 3)))
