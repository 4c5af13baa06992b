"""What a chaos run found, worked out from what viewers saw. Pure: no clock, no I/O."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GAP_S = 1.0
"""Without boxes for longer a viewer is blind. At 5 analysed frames/s, five in a row are missing."""
STEADY_S = 4.0
"""Boxes that came for so long without a gap have come back."""
TOLERANCE_S = 1.5
"""An alarm is the expected one when its frame is within this time of the moment: the model finds a
figure some frames after it came into sight, and frames are 0.2 s apart."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One alarm that a camera must raise.

    Attributes:
        camera: its room.
        at_s: when the condition becomes true, on the run's clock.
        watched_s: for how long before that the camera must have been seen without a break.
    """

    camera: str
    rule: str
    at_s: float
    watched_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Raised:
    """One alarm in the records, at the capture time of its frame on the run's clock."""

    id: str
    camera: str
    rule: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Blind:
    """A time in which a camera was not watched, from a kill to the return of its boxes."""

    camera: str
    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Alarms of a run.

    Attributes:
        expected: of those that could be seen.
        lost: expected and not raised.
        doubled: raised more than once for one moment.
        unexpected: near no moment of their rule, as when somebody is found in a zone only after a
            camera was blind.
        blind: expected while their camera was not watched, and so not counted as lost.
    """

    expected: int
    lost: tuple[Expected, ...]
    doubled: tuple[Raised, ...]
    unexpected: tuple[Raised, ...]
    blind: int


def seconds_to_covered(
    arrivals: Sequence[float], killed_s: float, now_s: float, gap_s: float = GAP_S
) -> float | None:
    """How long after a kill the last gap in a camera's boxes ended; 0 where there was none.

    Args:
        arrivals: when boxes came, ascending, on the same clock as the kill.

    Returns:
        None while it is not over: the boxes have not come for `STEADY_S` without a gap.
    """
    after = arrivals[bisect.bisect_right(arrivals, killed_s) :]
    times = [killed_s, *after]
    ends = [b for a, b in itertools.pairwise(times) if b - a > gap_s]
    covered_s = ends[-1] if ends else killed_s
    steady = now_s - covered_s >= STEADY_S and now_s - times[-1] <= gap_s
    return covered_s - killed_s if steady else None


def tally(expected: Iterable[Expected], raised: Iterable[Raised], blinds: Iterable[Blind]) -> Tally:
    """Compare what had to be raised with what is in the records. Each alarm belongs to the moment
    of its rule that is nearest, within `TOLERANCE_S`."""
    moments = tuple(expected)
    of: dict[int, list[Raised]] = {number: [] for number in range(len(moments))}
    unexpected: list[Raised] = []
    for alarm in sorted(raised, key=lambda alarm: alarm.at_s):
        nearest = _nearest(moments, alarm)
        if nearest is None:
            unexpected.append(alarm)
        else:
            of[nearest].append(alarm)
    windows = tuple(blinds)
    unseen = [
        one
        for number, one in enumerate(moments)
        if not of[number] and any(_touches(one, blind) for blind in windows)
    ]
    lost = [one for number, one in enumerate(moments) if not of[number] and one not in unseen]
    return Tally(
        expected=len(moments) - len(unseen),
        lost=tuple(lost),
        doubled=tuple(extra for found in of.values() for extra in found[1:]),
        unexpected=tuple(unexpected),
        blind=len(unseen),
    )


def _nearest(moments: Sequence[Expected], alarm: Raised) -> int | None:
    def distance(number: int) -> float:
        return abs(moments[number].at_s - alarm.at_s)

    same = [
        number
        for number, one in enumerate(moments)
        if (one.camera, one.rule) == (alarm.camera, alarm.rule) and distance(number) <= TOLERANCE_S
    ]
    return min(same, key=distance, default=None)


def _touches(one: Expected, blind: Blind) -> bool:
    return (
        blind.camera == one.camera
        and blind.since_s <= one.at_s + TOLERANCE_S
        and blind.until_s >= one.at_s - one.watched_s - TOLERANCE_S
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that `share` of all do not exceed.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no value has no percentile")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
