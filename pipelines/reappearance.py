"""Is what appears here what was lost here? Pure decisions; `tracking` holds the state.

A tracker forgets within seconds what the detector misses. A parked car behind a lorry, or one that
the detector sees in every third frame, would come back as a new car, with a new alarm. So objects
stay remembered after they are lost: briefly and by reach where they moved, long and by place where
they stood. Whoever is *seen* to leave a place is remembered elsewhere, and the next one to take the
place is new.
"""

from __future__ import annotations

from math import hypot

from pipelines.domain import PixelBox
from pipelines.geometry import area, foot_point, intersection

S = 1_000_000

# Still at its place: the smaller of the two boxes lies with this share in the other one. Not
# overlap over union, because what passes in front of a parked car cuts its box to a part of it.
# A walker leaves in a third of a box width, that is about 0.2 s.
SAME_PLACE_SHARE = 0.7
# Areas of the same standing object, now over before. Down to a tenth is left of one that goes
# behind something bit by bit; growing to nearly twice is coming nearer, not standing.
SAME_PLACE_GROWTH = (0.1, 1.7)

# Stands, rather than passes slowly: in the same place for this long.
STANDING_US = 3 * S
# What stood is expected back for twice as long as it stood: a person at a cash machine is not the
# one of an hour ago, a car parked since morning is. At least as long as a bus stands at a stop or
# traffic at a red light and hides what is behind; at most an hour, as light and places change.
STANDING_MEMORY_FACTOR = 2
STANDING_MEMORY_MIN_US = 120 * S
STANDING_MEMORY_MAX_US = 3600 * S

# What moved is found again only by chance after a few seconds: walking past a van takes 2 to 4 s.
MOVING_MEMORY_US = 6 * S
# An object that was never confirmed is noise until it is seen again soon.
TENTATIVE_MEMORY_US = 2 * S

# Reach of a lost moving object, in box sizes (mean of width and height): half a size at once, plus
# half a size per second (a walking person does 0.8 heights/s, but mostly towards where the
# tracker's prediction already looked), never more than two.
REACH_AT_ONCE = 0.5
REACH_PER_S = 0.5
REACH_MAX = 2.0
# Height of the same moving object after a few seconds.
REACH_GROWTH = (0.6, 1.67)


def same_place(before: PixelBox, now: PixelBox) -> bool:
    """Whether `now` is the box, or a part of it, of what stood at `before`."""
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
    (ax, ay), (bx, by) = foot_point(a), foot_point(b)
    return hypot(bx - ax, by - ay)


def memory_us(*, confirmed: bool, stationary_us: int) -> int:
    """How long an object is expected back after it was seen last."""
    if not confirmed:
        return TENTATIVE_MEMORY_US
    if stationary_us < STANDING_US:
        return MOVING_MEMORY_US
    wanted = STANDING_MEMORY_FACTOR * stationary_us
    return max(STANDING_MEMORY_MIN_US, min(STANDING_MEMORY_MAX_US, wanted))
