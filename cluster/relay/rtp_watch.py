"""What a camera's RTP and RTCP packets say of it: losses, times, key frames, clock. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

CLOCK_HZ = 90_000
"""Of video (RFC 6184, RFC 7798, RFC 2435)."""
JUMP_S = 2.0
"""How far a camera's time may be from ours between two packets; reordering and jitter are less."""
MAX_GAP = 1000
"""A longer gap in the sequence numbers is a new beginning, not a loss."""
_NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 868)."""
_SENDER_REPORT = 200
_H264_IDR, _H264_STAP_A, _H264_FU_A = 5, 24, 28
_H265_AP, _H265_FU = 48, 49
_H265_KEY = range(16, 22)


@dataclass(frozen=True, slots=True)
class RtpReport:
    """What was seen of one track.

    Attributes:
        packets, lost: RTP packets that came, and that are missing by their numbers.
        frames: how many began.
        key_frames: how many of them a decoder can start at.
        key_distance_s: the longest time without one; None before the first.
        jumps: times that ran away from ours by more than `JUMP_S`, in either direction.
        repeated: frames with the time of the frame before.
        seconds: from the first packet to the last.
        clock_offset_s: the camera's clock minus ours; None where the camera reports none.
    """

    packets: int
    lost: int
    frames: int
    key_frames: int
    key_distance_s: float | None
    jumps: int
    repeated: int
    seconds: float
    clock_offset_s: float | None

    @property
    def fps(self) -> float:
        """Frames per second; 0.0 if unknown."""
        return round((self.frames - 1) / self.seconds, 1) if self.seconds > 0 else 0.0


class RtpWatch:
    """Follows one video track. Malformed packets are left out.

    Args:
        encoding: as in SDP; key frames are recognized of H264 and H265.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.upper()
        self._packets = self._lost = self._frames = self._keys = 0
        self._jumps = self._repeated = 0
        self._first_s = self._last_s = 0.0
        self._sequence: int | None = None
        self._ticks = 0
        self._ended = True
        self._key_in_frame = False
        self._key_s: float | None = None
        self._key_distance_s = 0.0
        self._offset_s: float | None = None

    def rtp(self, packet: bytes, at_s: float) -> None:
        """Take in an RTP packet that came at `at_s`, monotonic seconds."""
        if len(packet) < 12 or packet[0] >> 6 != 2:
            return
        marker, (sequence, ticks) = packet[1] >> 7, struct.unpack("!HI", packet[2:8])
        if self._sequence is None:
            self._first_s = self._last_s = at_s
        else:
            gap = (sequence - self._sequence) & 0xFFFF
            self._lost += gap - 1 if 1 < gap <= MAX_GAP else 0
        self._follow_time(ticks, at_s)
        self._packets += 1
        self._sequence, self._ticks, self._last_s = sequence, ticks, at_s
        self._ended = bool(marker)
        if not self._key_in_frame and self._begins_key(_payload(packet)):
            self._key_in_frame = True
            self._note_key(at_s)

    def rtcp(self, packet: bytes, now_us: int) -> None:
        """Take in an RTCP packet that came at `now_us`, UTC microseconds."""
        at = 0
        while at + 4 <= len(packet):
            kind, words = struct.unpack("!BH", packet[at + 1 : at + 4])
            if kind == _SENDER_REPORT and at + 16 <= len(packet):
                seconds, fraction = struct.unpack("!II", packet[at + 8 : at + 16])
                if seconds:
                    theirs_s = seconds - _NTP_EPOCH_S + fraction / 2**32
                    self._offset_s = theirs_s - now_us / 1e6
            at += 4 * (words + 1)

    def report(self) -> RtpReport:
        distance_s = None
        if self._key_s is not None:
            distance_s = max(self._key_distance_s, self._last_s - self._key_s)
        return RtpReport(
            packets=self._packets,
            lost=self._lost,
            frames=self._frames,
            key_frames=self._keys,
            key_distance_s=distance_s,
            jumps=self._jumps,
            repeated=self._repeated,
            seconds=self._last_s - self._first_s,
            clock_offset_s=self._offset_s,
        )

    def _follow_time(self, ticks: int, at_s: float) -> None:
        first = self._sequence is None
        step = (ticks - self._ticks + 2**31) % 2**32 - 2**31
        if not first and abs(step / CLOCK_HZ - (at_s - self._last_s)) > JUMP_S:
            self._jumps += 1
        if first or step != 0 or self._ended:
            self._repeated += not first and step == 0
            self._frames += 1
            self._key_in_frame = False

    def _note_key(self, at_s: float) -> None:
        if self._key_s is not None:
            self._key_distance_s = max(self._key_distance_s, at_s - self._key_s)
        self._key_s = at_s
        self._keys += 1

    def _begins_key(self, payload: bytes) -> bool:
        if len(payload) < 3:
            return False
        if self._encoding == "H264":
            return _begins_h264_key(payload)
        return self._encoding == "H265" and _begins_h265_key(payload)


def _payload(packet: bytes) -> bytes:
    at = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10 and at + 4 <= len(packet):
        at += 4 + 4 * int.from_bytes(packet[at + 2 : at + 4])
    end = len(packet) - (packet[-1] if packet[0] & 0x20 else 0)
    return packet[at:end]


def _begins_h264_key(payload: bytes) -> bool:
    kind = payload[0] & 0x1F
    if kind == _H264_FU_A:
        return bool(payload[1] & 0x80) and payload[1] & 0x1F == _H264_IDR
    if kind == _H264_STAP_A:
        return any(nal[0] & 0x1F == _H264_IDR for nal in _aggregated(payload[1:]))
    return kind == _H264_IDR


def _begins_h265_key(payload: bytes) -> bool:
    kind = payload[0] >> 1 & 0x3F
    if kind == _H265_FU:
        return bool(payload[2] & 0x80) and payload[2] & 0x3F in _H265_KEY
    if kind == _H265_AP:
        return any(nal[0] >> 1 & 0x3F in _H265_KEY for nal in _aggregated(payload[2:]))
    return kind in _H265_KEY


def _aggregated(data: bytes) -> list[bytes]:
    """The NAL units of an aggregation packet, without empty ones."""
    found, at = [], 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2])
        if nal := data[at + 2 : at + 2 + size]:
            found.append(nal)
        at += 2 + size
    return found
