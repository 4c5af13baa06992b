"""Capture and decoding times of pictures as the camera sent them, where the room gets others.

A stream with B-frames, or of H.265, goes into the room as a transcode, and it is the transcode's
pictures whose capture times are known: they come in the order in which they are shown. What is
recorded are the camera's own packets, in the order in which they are decoded. Both have the same
presentation times, so a packet waits here until its picture was shown.

No time of decoding is taken from the stream: RTP carries none, and what demuxers guess is wrong for
streams that do not announce how far they reorder. It is made here: a picture is decoded before the
first picture that is shown from then on, evenly spaced where several have to be.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cluster.recording.segment import VideoUnit

# Reordering reaches 16 pictures at most, and decoders hold some more while they start.
MAX_PENDING = 64
JUMP_US = 2_000_000
"""Presentation times that step by this much have a new origin: they say nothing of the old ones."""
FIRST_STEP_US = 20_000
"""Between decoding times before the first picture is shown, where nothing tells a better one."""


@dataclass(slots=True)
class _Sent:
    data: bytes
    key_frame: bool
    at: tuple[int, int]  # epoch, presentation time in microseconds
    capture_us: int | None = None


class SentPictures:
    """Joins what was sent with what was shown. Not thread-safe.

    Attributes:
        lost: packets that got no time: their pictures were never shown, nor could a time be told.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._pending: deque[_Sent] = deque()
        self._epoch = 0
        self._last_pts_us: int | None = None
        self._last_decode_us: int | None = None

    def reset(self) -> None:
        """The stream begins anew, or was not recorded for a while."""
        self._pending.clear()
        self._last_pts_us = None

    def sent(self, data: bytes, key_frame: bool, pts_s: float | None) -> None:
        """The next packet, in the order in which it came."""
        if pts_s is None:
            self.lost += 1
            return
        if len(self._pending) >= MAX_PENDING:
            self.lost += len(self._pending)
            self.reset()
        pts_us = round(pts_s * 1e6)
        if self._last_pts_us is not None and abs(pts_us - self._last_pts_us) > JUMP_US:
            self._epoch += 1
        self._last_pts_us = pts_us
        self._pending.append(_Sent(data, key_frame, (self._epoch, pts_us)))

    def shown(self, pts_s: float | None, capture_us: int) -> list[VideoUnit]:
        """A picture was shown: what can be recorded now, in the order of decoding."""
        if pts_s is None:
            return []
        pts_us = round(pts_s * 1e6)
        mine = next((sent for sent in self._pending if sent.at[1] == pts_us), None)
        if mine is None:
            return []
        mine.capture_us = capture_us
        return self._ready(mine.at, capture_us)

    def _ready(self, shown: tuple[int, int], capture_us: int) -> list[VideoUnit]:
        for sent in self._pending:
            if sent.capture_us is None and sent.at[0] == shown[0] and sent.at <= shown:
                # Its picture was damaged, but its place in time is known by its neighbours.
                sent.capture_us = capture_us - (shown[1] - sent.at[1])
        units = []
        while self._pending and self._pending[0].at <= shown:
            unit = self._timed(self._pending[0])
            self._pending.popleft()
            if unit is None:
                self.lost += 1
            else:
                units.append(unit)
        return units

    def _timed(self, first: _Sent) -> VideoUnit | None:
        """With its time of decoding; what is not yet shown is later than all that was."""
        if first.capture_us is None:
            return None
        until_us, place = first.capture_us, 0
        for n, sent in enumerate(self._pending):
            if sent.capture_us is not None and sent.capture_us < until_us:
                until_us, place = sent.capture_us, n
        last_us = self._last_decode_us
        if last_us is None or until_us - last_us > JUMP_US:  # nothing to be spread over
            decode_us = until_us - place * FIRST_STEP_US
        else:
            decode_us = last_us + (until_us - last_us) // (place + 1)
        if decode_us > first.capture_us or decode_us <= (last_us or 0):
            return None
        self._last_decode_us = decode_us
        return VideoUnit(first.data, first.key_frame, first.capture_us, decode_us)
