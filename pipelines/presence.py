"""Where an object is with respect to a zone or a line, without trembling. Pure state machines.

Boxes tremble: their lower edge moves by some percent of their height from frame to frame, more when
legs are hidden. A state changes only when the foot point is clear of the border.
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

# Half width of the border, in heights of the object's box: 17 cm for a person.
BORDER_SHARE = 0.1
# ... and at least this, in picture heights: 2 pixels at 360 lines, for distant objects.
BORDER_MIN = 0.005

# Really left: clear of the zone for this long. Hidden legs lift the foot point for about a second.
LEAVE_US = 2 * S


def border(height: float) -> float:
    """Half width of the border for an object `height` high, both in picture heights."""
    return max(BORDER_MIN, BORDER_SHARE * height)


class ZonePhase(StrEnum):
    OUTSIDE = "outside"
    INSIDE = "inside"
    LEAVING = "leaving"


class FootPosition(StrEnum):
    """What one look at the foot point says."""

    WITHIN = "within"
    ON_BORDER = "on_border"
    CLEAR = "clear"
    CLEAR_FOR_LONG = "clear_for_long"


# Every state with every look; a missing pair would be a KeyError in the first test.
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
    """One object and one zone. `*_us` is scene time.

    Attributes:
        entries: how often it entered so far; number of the present or last stay.
        entered_us: start of the present or last stay.
        clear_since_us: since when it has been clear of the zone, if it is.
    """

    phase: ZonePhase = ZonePhase.OUTSIDE
    entries: int = 0
    entered_us: int = 0
    clear_since_us: int | None = None
    last_us: int = 0

    @property
    def inside(self) -> bool:
        """In the zone, or not yet away from it for good."""
        return self.phase is not ZonePhase.OUTSIDE

    def update(self, foot: Point, height: float, zone: tuple[Point, ...], now_us: int) -> bool:
        """Take in where the object is now (upright coordinates); True when it just entered."""
        # An object that was clear of the zone when it was lost has left, even if it is inside when
        # found again.
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
    """One object and one line.

    Attributes:
        side: +1 right, -1 left, 0 before the first look; changes only clear of the line.
        through: whether the path since the last clear look led through the line an odd number of
            times, rather than around its end.
    """

    side: int = 0
    through: bool = False
    last: Point | None = None

    def update(self, foot: Point, height: float, a: Point, b: Point) -> Crossing | None:
        """Take in where the object is now, in upright coordinates; the crossing just completed."""
        last, self.last = self.last, foot
        distance = side_of_line(foot, a, b)
        now = 1 if distance >= 0 else -1
        if last is None:
            # The first look counts even on the border: people come out of a door right at the line.
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
