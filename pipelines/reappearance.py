"""Decides whether a new detection is a lost object that returned. Pure; `tracking` has the state.

A tracker forgets within seconds what the detector misses. A parked car behind a lorry, or one that
is detected in every third frame only, would come back as a new car, with a new alarm. Lost objects
are therefore remembered: moving ones briefly and by reach, stationary ones long and by place. An
object that is *seen* leaving its place is remembered elsewhere, and the next one at that place is
new.
"""

from __future__ import annotations

from math import hypot

from pipelines.domain import PixelBox
from pipelines.geometry import area, foot_point, intersection

S = 1_000_000
"""Microseconds per second."""

# Same place: at least this share of the smaller box lies inside the other one. Not IoU, because an
# object passing in front of a parked car reduces its box to a part. A walking person leaves the
# place within a third of a box width, i.e. about 0.2 s.
SAME_PLACE_SHARE = 0.7
# Allowed ratio of areas, now over before, of the same stationary object. One that is gradually
# occluded may shrink to a tenth; one that grows to nearly twice is approaching, not stationary.
SAME_PLACE_GROWTH = (0.1, 1.7)

# Stationary, rather than passing slowly: in the same place for this long.
STANDING_US = 3 * S
# A stationary object is expected back for twice as long as it stood: a person at a cash machine is
# not the one of an hour ago, but a car parked since morning is the same. At least as long as a bus
# at a stop, or traffic at a red light, hides what is behind; at most an hour, as light and places
# change.
STANDING_MEMORY_FACTOR = 2
STANDING_MEMORY_MIN_US = 120 * S
STANDING_MEMORY_MAX_US = 3600 * S

# After a few seconds a moving object is matched only by chance: walking past a van takes 2 to 4 s.
MOVING_MEMORY_US = 6 * S
# An unconfirmed object is noise unless it is seen again soon.
TENTATIVE_MEMORY_US = 2 * S

# Reach of a lost moving object, in box sizes (mean of width and height): half a size at once, plus
# half a size per second, at most two. A walking person covers 0.8 heights/s, but mostly along the
# tracker's prediction.
REACH_AT_ONCE = 0.5
REACH_PER_S = 0.5
REACH_MAX = 2.0
# Allowed ratio of heights of the same moving object after a few seconds.
REACH_GROWTH = (0.6, 1.67)


def same_place(before: PixelBox, now: PixelBox) -> bool:
    """Whether `now` is the box, or a part of the box, of a stationary object at `before`."""
    area_before, area_now = area(before), area(now)
    smaller = min(area_before, area_now)
    if smaller <= 0.0:
        return False
    low, high = SAME_PLACE_GROWTH
    if not low <= area_now / area_before <= high:
        return False
    return intersection(before, now) / smaller >= SAME_PLACE_SHARE


def within_reach(before: PixelBox, now: PixelBox, gap_us: int) -> bool:
    """Whether a moving object last seen at `before` can be at `now` after `gap_us`."""
    height_before, height_now = before[3] - before[1], now[3] - now[1]
    if height_before <= 0 or not REACH_GROWTH[0] <= height_now / height_before <= REACH_GROWTH[1]:
        return False
    reach = min(REACH_MAX, REACH_AT_ONCE + REACH_PER_S * gap_us / S)
    size = (before[2] - before[0] + height_before) / 2
    return foot_distance(before, now) <= reach * size


def foot_distance(a: PixelBox, b: PixelBox) -> float:
    """Distance between the foot points of two boxes."""
    (ax, ay), (bx, by) = foot_point(a), foot_point(b)
    return hypot(bx - ax, by - ay)


def memory_us(*, confirmed: bool, stationary_us: int) -> int:
    """How long after its last detection an object is expected to return."""
    if not confirmed:
        return TENTATIVE_MEMORY_US
    if stationary_us < STANDING_US:
        return MOVING_MEMORY_US
    wanted = STANDING_MEMORY_FACTOR * stationary_us
    return max(STANDING_MEMORY_MIN_US, min(STANDING_MEMORY_MAX_US, wanted))
