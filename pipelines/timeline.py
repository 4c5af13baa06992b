"""Capture times of real cameras stand still, jump and run backwards; rules need time that does not.

The timeline turns them into *scene time*: microseconds since the pipeline's first frame, strictly
growing, equal to differences of capture time wherever those can be believed.
"""

from __future__ import annotations

# Frames of one camera arrive at most this much out of order; a clock that NTP sets back by less
# costs that many seconds of frames and no track.
LATE_US = 1_000_000

# A step further back, or this far ahead, is a clock being set, not time passing: a camera that
# starts in 1970 and then finds NTP. How long it really took cannot be known.
JUMP_US = 24 * 3600 * 1_000_000


class Timeline:
    """One camera's scene time.

    Args:
        break_us: how far scene time moves on over a jump of the clock: long enough that nothing is
            carried over it by motion, for the picture may be another one (a recording that
            starts again).
    """

    def __init__(self, break_us: int) -> None:
        self._break_us = break_us
        self._capture_us: int | None = None
        self._scene_us = 0

    def advance(self, capture_us: int) -> int | None:
        """Scene time of the frame, or None where it is late or a repetition: skip such a frame."""
        if self._capture_us is None:
            self._capture_us = capture_us
            return 0
        passed = capture_us - self._capture_us
        if -LATE_US <= passed <= 0:
            return None
        self._capture_us = capture_us
        self._scene_us += passed if 0 < passed <= JUMP_US else self._break_us
        return self._scene_us
