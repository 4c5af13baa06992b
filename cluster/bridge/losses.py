"""Access units that LiveKit's SDK loses on the way to its encoder, though it accepted them.

The SDK (1.1.21) hands each access unit to libwebrtc as a frame to encode, and libwebrtc drops a
frame when the next one comes before its encoder's thread has run. Nothing reports it: packets are
numbered after the encoder, so a receiver sees no gap, decodes what follows without its reference,
and shows smeared frames until the next key frame. So the units of a burst are paced, and what is
lost in spite of that is found by counting.
"""

from __future__ import annotations

from typing import NamedTuple

SHARE = 0.5
"""Of the time between two units in their stream: a burst is caught up with at twice its rate.

Bursts of 12 frames, 60 in all, on two cores that others kept busy, two runs each: without a pause
22 and 34 units were lost, with 5 ms 5 and 6, with 10 ms 1 and 3, with 20 ms (half of 25 frames/s) 1
and 3. Of 180 frames 33 and 47 were damaged; 7 and 20; none and 6; none. On an idle machine 1 ms is
enough."""
MAX_SPACING_S = 0.02


class Spacing:
    """Paces access units. Pure; one per stream."""

    def __init__(self) -> None:
        self._handed_s = float("-inf")
        self._last_us = 0

    def wait_s(self, now_s: float, timestamp_us: int) -> float:
        """How long to wait before this unit is handed over.

        Args:
            now_s: monotonic seconds.
            timestamp_us: its time in the stream; increases.
        """
        spacing_s = min(MAX_SPACING_S, SHARE * (timestamp_us - self._last_us) / 1e6)
        self._last_us = timestamp_us
        at_s = max(now_s, self._handed_s + spacing_s)
        self._handed_s = at_s
        return at_s - now_s


class Loss(NamedTuple):
    """What a check found.

    Attributes:
        units: access units that were lost.
        damaged: whether receivers still show frames that are damaged by that.
    """

    units: int
    damaged: bool


class LossWatch:
    """Compares what the SDK accepted with what its encoder received. Not thread-safe.

    Units on their way are missing for a moment, and units that come between the two counts hide
    others that are missing. So lost is what is missing in two checks running.
    """

    def __init__(self) -> None:
        self._missing = 0
        self._lost = 0
        self._key_frames = (0, 0)  # at the check before the last one, and at that

    def check(self, accepted: int, key_frames: int, encoded: int) -> Loss:
        """What was lost since the last check.

        Args:
            accepted: units that the SDK accepted so far, counted before `encoded`.
            key_frames: how many of them were key frames.
            encoded: units that its encoder received so far.
        """
        missing = accepted - encoded
        lost = max(0, min(missing, self._missing) - self._lost)
        # It was lost between these two checks. A key frame since then has ended the damage, or came
        # right before the loss: to freeze for that would cost more frames than it saves.
        before, last = self._key_frames
        damaged = lost > 0 and key_frames == before
        self._lost += lost
        self._missing, self._key_frames = missing, (last, key_frames)
        return Loss(lost, damaged)
