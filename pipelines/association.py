"""Associates the boxes of one camera and one group of classes from frame to frame.

As in ByteTrack, confident boxes are assigned first, all at once, and weak ones may then prolong
what is left. But boxes need not overlap: what counts is how likely a box is for an object, by its
distance from the prediction, in units of how uncertain that is (`motion`), and by its size. So a
new object, of unknown velocity, reaches far; yet an object whose place is known better has
precedence over it, and in a crowd nobody reaches beyond the next person.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pipelines.domain import PixelBox
from pipelines.motion import Motion

# How long the motion of an unseen object is predicted. Beyond this, the prediction is far off;
# objects that return later are handled by `reappearance`.
LOST_S = 3.0

# The same for an object that was seen once. At 5 frames/s it may be missed once; longer, and at
# night ghosts become objects by chance.
FIRST_S = 0.5

# A box is another object if its negative log-likelihood, for places in sizes, exceeds this. The
# second box of a new object may then be 1.9 sizes away after 0.2 s, 3.8 after 0.5 s. With 2.0, one
# crossing in 25 of all scenes is lost; with 5.0, a few more are invented.
LIMIT = 4.0

# Standard deviation of the logarithm of a side, and how much unlike sides can count against a box
# altogether: boxes are cut by the border of the picture, and by who stands in front.
SIDE_NOISE = 0.2
SIDE_LIMIT = 2.0


class Tracklet:
    """One object, followed from box to box; compared by identity.

    Attributes:
        motion: where it is or, unseen, must be by now.
        hits: number of its boxes.
        seen_s: when it was last seen.
        left: its prediction left the picture while it was unseen. It is not followed any further.
    """

    __slots__ = ("hits", "left", "motion", "seen_s")

    def __init__(self, box: PixelBox, at_s: float) -> None:
        self.motion = Motion(box)
        self.hits = 1
        self.seen_s = at_s
        self.left = False

    def take(self, box: PixelBox, at_s: float) -> None:
        """The object was found here."""
        self.motion.correct(box)
        self.hits += 1
        self.seen_s = at_s


class Associator:
    """Associates the boxes of each frame with those of earlier frames.

    Args:
        activation: minimum confidence to start a track. Boxes below it can still extend one, so do
            not filter them out.
    """

    def __init__(self, activation: float) -> None:
        self._activation = activation
        self._tracklets: list[Tracklet] = []
        self._last_s = 0.0

    def set_activation(self, activation: float) -> None:
        """Change the threshold; existing tracks are kept."""
        self._activation = activation

    @property
    def alive(self) -> set[Tracklet]:
        """Tracklets that are followed, whether seen in the last frame or not."""
        return set(self._tracklets)

    def update(
        self,
        boxes: Sequence[PixelBox],
        confidences: Sequence[float],
        at_s: float,
        picture: tuple[float, float] = (inf, inf),
    ) -> list[Tracklet | None]:
        """The tracklet of each box, in input order; None for a box without one.

        Args:
            boxes: in a coordinate frame that does not depend on the frame size.
            confidences: 0..1.
            at_s: scene time in seconds, strictly increasing.
            picture: width and height of the frame in the unit of the boxes.
        """
        self._advance(at_s)
        sure = [n for n, confidence in enumerate(confidences) if confidence >= self._activation]
        weak = [n for n, confidence in enumerate(confidences) if confidence < self._activation]
        rows: list[Tracklet | None] = [None] * len(boxes)
        for numbers in (sure, weak):
            waiting = [one for one in self._tracklets if one.seen_s < at_s]
            for place, found in _assign(waiting, [boxes[n] for n in numbers]):
                rows[numbers[found]] = waiting[place]
                waiting[place].take(boxes[numbers[found]], at_s)
        self._release(at_s, picture)
        for number in sure:
            if rows[number] is None:
                rows[number] = started = Tracklet(boxes[number], at_s)
                self._tracklets.append(started)
        return rows

    def _advance(self, at_s: float) -> None:
        """Move all predictions on to this time; drop what was not seen for too long."""
        last_s, self._last_s = self._last_s, at_s
        self._tracklets = [
            one
            for one in self._tracklets
            if at_s - one.seen_s <= LOST_S
            and (one.hits > 1 or one.seen_s == last_s or at_s - one.seen_s <= FIRST_S)
        ]
        for one in self._tracklets:
            one.motion.predict(at_s - last_s)

    def _release(self, at_s: float, picture: tuple[float, float]) -> None:
        """Drop what must have left the picture. Who enters there next is somebody else."""
        for one in self._tracklets:
            x, y = one.motion.x, one.motion.y
            outside = not (0.0 <= x <= picture[0] and 0.0 <= y <= picture[1])
            one.left = outside and one.seen_s < at_s
        self._tracklets = [one for one in self._tracklets if not one.left]


def _assign(tracklets: Sequence[Tracklet], boxes: Sequence[PixelBox]) -> list[tuple[int, int]]:
    """Numbers of the tracklets and boxes that are, all together, most likely the same."""
    if not tracklets or not boxes:
        return []
    gains = np.minimum(_costs(tracklets, np.array(boxes)) - LIMIT, 0.0)
    pairs = zip(*linear_sum_assignment(gains), strict=True)
    return [(int(row), int(column)) for row, column in pairs if gains[row, column] < 0.0]


def _costs(
    tracklets: Sequence[Tracklet], boxes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Negative log-likelihood of each box, (m, 4), for each of n tracklets: (n, m)."""
    motions = [one.motion for one in tracklets]
    state = np.array([(at.x, at.y, at.width, at.height, at.spread, at.size) for at in motions])
    x, y, width, height, spread, size = state.T[:, :, None]
    x1, y1, x2, y2 = boxes.T
    distance2 = ((x1 + x2) / 2 - x) ** 2 + ((y1 + y2) / 2 - y) ** 2
    unlike = np.log((x2 - x1) / width) ** 2 + np.log((y2 - y1) / height) ** 2
    result: npt.NDArray[np.float64] = (
        distance2 / (2 * spread)
        + np.log(spread / size**2)
        + np.minimum(unlike / (2 * SIDE_NOISE**2), SIDE_LIMIT)
    )
    return result
