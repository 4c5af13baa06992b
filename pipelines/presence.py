"""State of an object relative to a zone or a line, with hysteresis. Pure state machines.

Boxes jitter: their lower edge moves by some percent of their height from frame to frame, more when
legs are occluded. A state changes only when the foot point is clear of the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipelines.geometry import (
    Point,
    distance_to_border,
    inside_polygon,
    side_of_line,
    step_crosses,
)

S = 1_000_000
"""Microseconds per second."""

# Half width of the border, in heights of the object's box: 17 cm for a person.
BORDER_SHARE = 0.1
# Its minimum, in frame heights, for distant objects: 2 pixels at 360 lines.
BORDER_MIN = 0.005

# An object has left once it is clear of the zone for this long. Occluded legs raise the foot point
# for about a second.
LEAVE_US = 2 * S


def border(height: float) -> float:
    """Half width of the border for an object of this height, both in frame heights."""
    return max(BORDER_MIN, BORDER_SHARE * height)


class ZonePhase(StrEnum):
    OUTSIDE = "outside"
    INSIDE = "inside"
    LEAVING = "leaving"


class FootPosition(StrEnum):
    """Position of the foot point relative to the zone in one frame."""

    WITHIN = "within"
    ON_BORDER = "on_border"
    CLEAR = "clear"
    CLEAR_FOR_LONG = "clear_for_long"


# Complete: every phase with every position. A missing pair would be a KeyError in the first test.
TRANSITIONS: Final[dict[tuple[ZonePhase, FootPosition], ZonePhase]] = {
    (ZonePhase.OUTSIDE, FootPosition.WITHIN): ZonePhase.INSIDE,
    (ZonePhase.OUTSIDE, FootPosition.ON_BORDER): ZonePhase.OUTSIDE,
    (ZonePhase.OUTSIDE, FootPosition.CLEAR): ZonePhase.OUTSIDE,
    (ZonePhase.OUTSIDE, FootPosition.CLEAR_FOR_LONG): ZonePhase.OUTSIDE,
    (ZonePhase.INSIDE, FootPosition.WITHIN): ZonePhase.INSIDE,
    (ZonePhase.INSIDE, FootPosition.ON_BORDER): ZonePhase.INSIDE,
    (ZonePhase.INSIDE, FootPosition.CLEAR): ZonePhase.LEAVING,
    (ZonePhase.INSIDE, FootPosition.CLEAR_FOR_LONG): ZonePhase.OUTSIDE,
    (ZonePhase.LEAVING, FootPosition.WITHIN): ZonePhase.INSIDE,
    (ZonePhase.LEAVING, FootPosition.ON_BORDER): ZonePhase.LEAVING,
    (ZonePhase.LEAVING, FootPosition.CLEAR): ZonePhase.LEAVING,
    (ZonePhase.LEAVING, FootPosition.CLEAR_FOR_LONG): ZonePhase.OUTSIDE,
}


@dataclass(slots=True)
class ZoneState:
    """State of one object relative to one zone. `*_us` is scene time.

    Attributes:
        entries: how often it has entered; the number of the current or last stay.
        entered_us: start of the current or last stay.
        clear_since_us: since when it has been clear of the zone; None if it is not.
        last_us: time of the last update.
    """

    phase: ZonePhase = ZonePhase.OUTSIDE
    entries: int = 0
    entered_us: int = 0
    clear_since_us: int | None = None
    last_us: int = 0

    @property
    def inside(self) -> bool:
        """Whether it is in the zone, or has not left it for good."""
        return self.phase is not ZonePhase.OUTSIDE

    def update(self, foot: Point, height: float, zone: tuple[Point, ...], now_us: int) -> bool:
        """Process the position, in upright coordinates. Returns whether the object just entered."""
        # An object that was clear of the zone when it was lost has left, even if it is inside when
        # it is found again.
        if self.clear_since_us is not None and now_us - self.clear_since_us >= LEAVE_US:
            self.phase = TRANSITIONS[self.phase, FootPosition.CLEAR_FOR_LONG]
        seen = self._classify(foot, height, zone)
        self.clear_since_us = (
            None
            if seen is not FootPosition.CLEAR
            else self.clear_since_us
            if self.clear_since_us is not None
            else now_us
        )
        was_inside = self.inside
        self.phase = TRANSITIONS[self.phase, seen]
        self.last_us = now_us
        if self.inside and not was_inside:
            self.entries += 1
            self.entered_us = now_us
            return True
        return False

    def _classify(self, foot: Point, height: float, zone: tuple[Point, ...]) -> FootPosition:
        if inside_polygon(foot, zone):
            return FootPosition.WITHIN
        if not self.inside or distance_to_border(foot, zone) > border(height):
            return FootPosition.CLEAR
        return FootPosition.ON_BORDER


class Crossing(StrEnum):
    LEFT_TO_RIGHT = "left_to_right"
    RIGHT_TO_LEFT = "right_to_left"


@dataclass(slots=True)
class LineState:
    """State of one object relative to one line.

    Attributes:
        side: +1 right, -1 left, 0 before the first position; changes only when clear of the line.
        through: whether the path since the last clear position crossed the line an odd number of
            times, rather than passing around its end.
        last: the previous foot point, in upright coordinates.
    """

    side: int = 0
    through: bool = False
    last: Point | None = None

    def update(self, foot: Point, height: float, a: Point, b: Point) -> Crossing | None:
        """Process the object's position, in upright coordinates. Returns a completed crossing."""
        last, self.last = self.last, foot
        distance = side_of_line(foot, a, b)
        now = 1 if distance >= 0 else -1
        if last is None:
            # The first position counts even on the border: a door may be right at the line.
            self.side = now
            return None
        if step_crosses(last, foot, a, b):
            self.through = not self.through
        if abs(distance) <= border(height):
            return None
        crossed = now != self.side and self.through
        self.side, self.through = now, False
        if not crossed:
            return None
        return Crossing.LEFT_TO_RIGHT if now > 0 else Crossing.RIGHT_TO_LEFT
