"""MPEG transport streams (ISO/IEC 13818-1): only whole packets go on.

Pure. Readers take the lengths in a packet for granted (go2rtc ends as a process on an elementary
stream's description that is longer than its table, pkg/mpegts/demuxer.go at v1.9.14).
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.relay.flv import UnknownMediaError

PACKET = 188
SYNC = 0x47
MAX_BROKEN = 64
"""Packets in a row that are left out; a bad cable loses fewer."""
_PAT, _PMT = 0x00, 0x02


class TransportPackets:
    """Takes a transport stream apart and hands on the packets whose lengths fit."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whole packets, several at once. Raises UnknownMediaError where it is no such stream."""
        self._buffer += data
        whole = len(self._buffer) // PACKET * PACKET
        good = bytearray()
        for start in range(0, whole, PACKET):
            packet = bytes(self._buffer[start : start + PACKET])
            if packet[0] != SYNC:
                raise UnknownMediaError("a transport stream out of step")
            if is_well_formed(packet):
                good += packet
                self._broken = 0
            else:
                self._broken += 1
                if self._broken > MAX_BROKEN:
                    raise UnknownMediaError("a broken transport stream")
        del self._buffer[:whole]
        if good:
            yield bytes(good)


def is_well_formed(packet: bytes) -> bool:
    """Whether every length in a packet fits into it."""
    control = packet[3] >> 4 & 3
    at = 4
    if control & 2:
        if packet[4] > (183 if control == 2 else 182):
            return False
        at += 1 + packet[4]
    if not control & 1:
        return control == 2
    payload = packet[at:]
    if not packet[1] & 0x40:
        return True
    if payload.startswith(b"\x00\x00\x01"):
        return len(payload) >= 9 and 9 + payload[8] <= len(payload)
    return _valid_section(payload)


def _valid_section(payload: bytes) -> bool:
    """A table at the start of a payload. Tables longer than a packet are none that we need."""
    if not payload or 1 + payload[0] + 3 > len(payload):
        return False
    table = payload[1 + payload[0] :]
    if table[0] not in (_PAT, _PMT):
        return False
    size = (table[1] & 0x0F) << 8 | table[2]
    section = table[3 : 3 + size]
    if len(section) < size or size < 9:
        return False
    return table[0] == _PAT or _valid_program_map(section[5:-4])


def _valid_program_map(body: bytes) -> bool:
    """A program map behind its version: clock, descriptors, elementary streams."""
    if len(body) < 4:
        return False
    at = 4 + ((body[2] & 0x0F) << 8 | body[3])
    while at < len(body):
        if at + 5 > len(body):
            return False
        at += 5 + ((body[at + 3] & 0x0F) << 8 | body[at + 4])
    return at == len(body)
