"""MPEG transport streams (ISO/IEC 13818-1): forwards well-formed packets only.

Pure. Readers trust the lengths inside a packet (go2rtc crashes on an elementary stream descriptor
that is longer than its table, pkg/mpegts/demuxer.go at v1.9.14).
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.relay.flv import UnknownMediaError

PACKET = 188
"""Bytes per packet."""
SYNC = 0x47
"""First byte of every packet."""
MAX_BROKEN = 64
"""Consecutive malformed packets that are dropped; a bad cable corrupts fewer."""
_PAT, _PMT = 0x00, 0x02


class TransportPackets:
    """Splits a transport stream into packets and drops malformed ones."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes and yield complete packets, several at a time.

        Raises:
            UnknownMediaError: the stream lost synchronization or has too many malformed packets.
        """
        self._buffer += data
        whole = len(self._buffer) // PACKET * PACKET
        good = bytearray()
        for start in range(0, whole, PACKET):
            packet = bytes(self._buffer[start : start + PACKET])
            if packet[0] != SYNC:
                raise UnknownMediaError("transport stream lost synchronization")
            if is_well_formed(packet):
                good += packet
                self._broken = 0
            else:
                self._broken += 1
                if self._broken > MAX_BROKEN:
                    raise UnknownMediaError("too many malformed transport stream packets")
        del self._buffer[:whole]
        if good:
            yield bytes(good)


def is_well_formed(packet: bytes) -> bool:
    """Whether all lengths inside a packet are consistent."""
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
    """Checks a PSI table at the start of a payload. Tables longer than a packet are not needed."""
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
    """Checks a program map after its section header: PCR, descriptors, elementary streams."""
    if len(body) < 4:
        return False
    at = 4 + ((body[2] & 0x0F) << 8 | body[3])
    while at < len(body):
        if at + 5 > len(body):
            return False
        at += 5 + ((body[at + 3] & 0x0F) << 8 | body[at + 4])
    return at == len(body)
