"""Where an object is and where it will be: a Kalman filter whose unit is the object's own size.

With noise in sizes and seconds, instead of pixels and frames, the same constants fit a person near
the camera and one far away, at every rate. The velocity of a new object is unknown, but bounded by
what moves: its second hit may be far from the first, and from the two the velocity follows.

The constants were chosen by `python -m benchmarks.tracking` and matter little: with any of them a
third larger or smaller, HOTA over all scenes changes by less than 0.01 (decision 0020).
"""

from __future__ import annotations

from pipelines.domain import PixelBox

# Standard deviation of a box's centre, in sizes. Detectors place a box to 2 or 3 %; legs that are
# hidden for a moment move its centre by more.
PLACE_NOISE = 0.08

# Standard deviation of a new object's velocity, in sizes per second: a walking person has 1.2 (0.8
# heights), one who crosses 1280 pixels in 2 s at a height of 180 has 5.3, a car in town 5.
SPEED = 3.0

# Spectral density of the acceleration, in sizes squared per second cubed: within a second, velocity
# changes by 0.8 sizes per second. People stop and turn.
AGILITY = 0.7

# Weight of a new box in the smoothed sides. A person's box is wider and narrower with each step.
SIDE_GAIN = 0.3


class Motion:
    """Place, velocity and sides of one object, and how certain they are.

    Both axes have the same variances, in units squared: of the place, of the velocity, and the
    covariance of the two.

    Args:
        box: its first, in any unit of length.

    Attributes:
        x, y: its centre.
        width, height: its sides, smoothed.
        vx, vy: its velocity per second.
    """

    __slots__ = (
        "_place_speed", "_place_var", "_speed_var", "height", "vx", "vy", "width", "x", "y",
    )  # fmt: skip

    def __init__(self, box: PixelBox) -> None:
        self.x, self.y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        self.width, self.height = box[2] - box[0], box[3] - box[1]
        self.vx = self.vy = 0.0
        self._place_var = (PLACE_NOISE * self.size) ** 2
        self._speed_var = (SPEED * self.size) ** 2
        self._place_speed = 0.0

    @property
    def size(self) -> float:
        """The mean of width and height."""
        return (self.width + self.height) / 2

    @property
    def spread(self) -> float:
        """Variance, along each axis, of where the centre of its next box will be."""
        return self._place_var + (PLACE_NOISE * self.size) ** 2

    def predict(self, seconds: float) -> None:
        """Move on at the same velocity, and become less certain."""
        self.x += self.vx * seconds
        self.y += self.vy * seconds
        agility = AGILITY * self.size**2
        self._place_var += seconds * (2 * self._place_speed + seconds * self._speed_var)
        self._place_var += agility * seconds**3 / 3
        self._place_speed += seconds * self._speed_var + agility * seconds**2 / 2
        self._speed_var += agility * seconds

    def correct(self, box: PixelBox) -> None:
        """Take in the box that was found where `predict` has moved it."""
        off_x, off_y = (box[0] + box[2]) / 2 - self.x, (box[1] + box[3]) / 2 - self.y
        spread = self.spread
        to_place, to_speed = self._place_var / spread, self._place_speed / spread
        self.x += to_place * off_x
        self.y += to_place * off_y
        self.vx += to_speed * off_x
        self.vy += to_speed * off_y
        self._speed_var -= to_speed * self._place_speed
        self._place_var *= 1 - to_place
        self._place_speed *= 1 - to_place
        self.width += SIDE_GAIN * (box[2] - box[0] - self.width)
        self.height += SIDE_GAIN * (box[3] - box[1] - self.height)
