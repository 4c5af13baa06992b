"""Converts capture times, which can stall, jump and go backwards, into time that rules can rely on.

*Scene time* is in microseconds since the pipeline's first frame. It increases strictly, by the same
differences as capture time wherever those are plausible.
"""

from __future__ import annotations

# Frames of one camera arrive at most this much out of order. If NTP sets the clock back by less,
# that many seconds of frames are skipped, but no track is lost.
LATE_US = 1_000_000

# A larger step back, or a step this far ahead, means that the clock was set, e.g. when a camera
# starts in 1970 and then reaches NTP. The time that really passed is unknown.
JUMP_US = 24 * 3600 * 1_000_000


class Timeline:
    """One camera's scene time.

    Args:
        break_us: by how much scene time advances over a clock jump. Long enough that no moving
            object is matched across it, because the scene may be different (a recording that
            restarts).
    """

    def __init__(self, break_us: int) -> None:
        self._break_us = break_us
        self._capture_us: int | None = None
        self._scene_us = 0

    def advance(self, capture_us: int) -> int | None:
        """Scene time of the frame; None if it is late or repeated and must be skipped."""
        if self._capture_us is None:
            self._capture_us = capture_us
            return 0
        passed = capture_us - self._capture_us
        if -LATE_US <= passed <= 0:
            return None
        self._capture_us = capture_us
        self._scene_us += passed if 0 < passed <= JUMP_US else self._break_us
        return self._scene_us
