"""When what was seen is an object, rather than noise: after enough hits, close in time."""

from __future__ import annotations

from dataclasses import dataclass

S = 1_000_000
"""Microseconds per second."""

# Confirmed after three hits over 0.3 s: a reflection that flashes for two frames never is, and
# no one crosses a zone faster. A slow camera need not wait for a third hit. The hits are of one run
# (`HitRun`): boxes of nothing that happen to lie near each other become no object.
CONFIRM_HITS, CONFIRM_US = 3, 3 * S // 10
CONFIRM_SLOW_HITS, CONFIRM_SLOW_US = 2, 6 * S // 10


@dataclass(slots=True)
class HitRun:
    """Hits in more than half of the frames since the first of them; otherwise a new run begins.

    In six night scenes of `benchmarks.tracking` at 10 frames/s, 92 objects of 141 were nothing when
    any three hits would do, and 3 of 45 are so.
    """

    hits: int = 0
    first_frame: int = 0
    began_us: int = 0

    def found(self, frame: int, scene_us: int) -> None:
        """It was seen in this frame, by their number, at this time."""
        self.hits += 1
        if frame - self.first_frame >= 2 * self.hits - 1:
            self.hits, self.first_frame, self.began_us = 1, frame, scene_us

    def confirms(self, scene_us: int) -> bool:
        """Whether it is long enough to be an object."""
        lasted = scene_us - self.began_us
        return (self.hits >= CONFIRM_HITS and lasted >= CONFIRM_US) or (
            self.hits >= CONFIRM_SLOW_HITS and lasted >= CONFIRM_SLOW_US
        )
