"""Timestamps for the camera's own packets while the room receives a transcode.

A stream with B-frames, or of H.265, is transcoded for the room. Capture times are known for the
transcoded frames, which come in presentation order. The recording takes the camera's own packets,
which come in decoding order. Both have the same presentation times, so a packet waits here until
its frame was presented.

Decoding times do not come from the stream: RTP carries none, and demuxers guess wrong for streams
that do not announce their reorder depth. They are derived here: a frame is decoded before the first
frame that is presented from then on, and several decodings are spaced evenly.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cluster.recording.segment import VideoUnit

# H.264 and H.265 reorder at most 16 frames. Decoders hold some more while they start.
MAX_PENDING = 64
JUMP_US = 2_000_000
"""Presentation times that jump by this much have a new origin, unrelated to the previous one."""
FIRST_STEP_US = 20_000
"""Step between decoding times before the first frame is presented. Nothing better is known then."""


@dataclass(slots=True)
class _PendingPacket:
    data: bytes
    key_frame: bool
    at: tuple[int, int]  # epoch, presentation time in microseconds
    capture_us: int | None = None


class ReorderBuffer:
    """Matches the camera's packets with presented frames. Not thread-safe.

    Attributes:
        lost: packets without a capture time: their frames were never presented, and neighbours
            could not supply one.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._pending: deque[_PendingPacket] = deque()
        self._epoch = 0
        self._last_pts_us: int | None = None
        self._last_decode_us: int | None = None

    def reset(self) -> None:
        """Start over: the stream was reopened, or was not recorded for a while."""
        self._pending.clear()
        self._last_pts_us = None

    def push_packet(self, data: bytes, key_frame: bool, pts_s: float | None) -> None:
        """Add the next packet, in decoding order."""
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
        self._pending.append(_PendingPacket(data, key_frame, (self._epoch, pts_us)))

    def present(self, pts_s: float | None, capture_us: int) -> list[VideoUnit]:
        """Report a presented frame; returns what can be recorded now, in decoding order."""
        if pts_s is None:
            return []
        pts_us = round(pts_s * 1e6)
        match = next((packet for packet in self._pending if packet.at[1] == pts_us), None)
        if match is None:
            return []
        match.capture_us = capture_us
        return self._ready(match.at, capture_us)

    def _ready(self, presented: tuple[int, int], capture_us: int) -> list[VideoUnit]:
        for packet in self._pending:
            same_epoch = packet.at[0] == presented[0]
            if packet.capture_us is None and same_epoch and packet.at <= presented:
                # Its frame was damaged. The presented frame determines its time.
                packet.capture_us = capture_us - (presented[1] - packet.at[1])
        units = []
        while self._pending and self._pending[0].at <= presented:
            unit = self._timed(self._pending[0])
            self._pending.popleft()
            if unit is None:
                self.lost += 1
            else:
                units.append(unit)
        return units

    def _timed(self, first: _PendingPacket) -> VideoUnit | None:
        """The packet with its decoding time. Frames not yet presented come after those that were;
        None if the packet has no capture time, or would be decoded too late."""
        if first.capture_us is None:
            return None
        until_us, place = first.capture_us, 0
        for n, packet in enumerate(self._pending):
            if packet.capture_us is not None and packet.capture_us < until_us:
                until_us, place = packet.capture_us, n
        last_us = self._last_decode_us
        if last_us is None or until_us - last_us > JUMP_US:  # no previous time to space from
            decode_us = until_us - place * FIRST_STEP_US
        else:
            decode_us = last_us + (until_us - last_us) // (place + 1)
        if decode_us > first.capture_us or decode_us <= (last_us or 0):
            return None
        self._last_decode_us = decode_us
        return VideoUnit(first.data, first.key_frame, first.capture_us, decode_us)
