"""A clip as RTP packets: RFC 6184 for H.264, RFC 7798 for H.265."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from pipelines.errors import ConfigError

CLOCK_HZ = 90_000  # for video, RFC 6184 and RFC 7798
PAYLOAD_TYPE = 96  # the first dynamic one, RFC 3551
# Ethernet's 1500 bytes minus IP, TCP and RTP headers, with room for a tunnel, as cameras do.
MAX_PAYLOAD = 1_400

_START_CODE = re.compile(rb"\x00{2,3}\x01")
_H264_PARAMETERS = {7: "sps", 8: "pps"}
_H265_PARAMETERS = {32: "vps", 33: "sps", 34: "pps"}
_H264_FU_A = 28
_H265_FU = 49


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded frame.

    Attributes:
        nals: NAL units without start codes and parameter sets.
        key: whether decoding can start here.
    """

    nals: tuple[bytes, ...]
    key: bool


@dataclass(frozen=True, slots=True)
class Clip:
    """A loop of coded frames in memory. It starts with a key frame.

    Attributes:
        encoding: name in SDP, `H264` or `H265`.
        parameters: parameter sets by kind; only sent in the SDP, as by most cameras.
    """

    encoding: str
    fps: Fraction
    width: int
    height: int
    units: tuple[AccessUnit, ...]
    parameters: dict[str, bytes]

    @property
    def duration_s(self) -> float:
        """Duration of the loop, seconds."""
        return float(len(self.units) / self.fps)

    def unit(self, number: int) -> AccessUnit:
        """Frame `number` of the endlessly repeated loop."""
        return self.units[number % len(self.units)]

    def next_key(self, number: int) -> int:
        """Number of the first key frame at or after `number`."""
        while not self.unit(number).key:
            number += 1
        return number

    def timestamp(self, number: int) -> int:
        """RTP timestamp of frame `number`: 32 bits, so it wraps after 13 hours."""
        return round(number * CLOCK_HZ / self.fps) & 0xFFFF_FFFF

    def format_parameters(self) -> str:
        """Value of the SDP attribute `fmtp`."""
        coded = {k: base64.b64encode(v).decode() for k, v in self.parameters.items()}
        if self.encoding == "H264":
            profile = self.parameters["sps"][1:4].hex()
            return (
                f"packetization-mode=1;profile-level-id={profile};"
                f"sprop-parameter-sets={coded['sps']},{coded['pps']}"
            )
        return ";".join(f"sprop-{kind}={coded[kind]}" for kind in ("vps", "sps", "pps"))


def load_clip(path: Path) -> Clip:
    """Read an MP4 file with H.264 or H.265 into memory.

    Raises:
        ConfigError: it holds another codec, or does not start with a key frame.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        if codec not in ("h264", "hevc"):
            raise ConfigError(f"{path.name} holds {codec}; a demo clip is H.264 or H.265.")
        names = _H264_PARAMETERS if codec == "h264" else _H265_PARAMETERS
        annexb = av.BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        parameters: dict[str, bytes] = {}
        units: list[AccessUnit] = []
        for packet in container.demux(stream):
            for out in annexb.filter(packet) if packet.size else ():
                nals = []
                for nal in split_annexb(bytes(out)):
                    if kind := names.get(_nal_type(codec, nal)):
                        parameters[kind] = nal
                    else:
                        nals.append(nal)
                units.append(AccessUnit(tuple(nals), out.is_keyframe))
        fps = Fraction(stream.average_rate or 25)
        size = stream.width, stream.height
    if not units or not units[0].key or set(parameters) != set(names.values()):
        raise ConfigError(
            f"{path.name} cannot be played in a loop: it must start with a key frame."
        )
    return Clip("H264" if codec == "h264" else "H265", fps, *size, tuple(units), parameters)


def split_annexb(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream with start codes."""
    return [nal for part in _START_CODE.split(data) if (nal := part.rstrip(b"\x00"))]


def _nal_type(codec: str, nal: bytes) -> int:
    return nal[0] & 0x1F if codec == "h264" else (nal[0] >> 1) & 0x3F


def payloads(encoding: str, nal: bytes) -> Iterator[bytes]:
    """A NAL unit as RTP payloads: whole if it fits, otherwise as fragmentation units."""
    if len(nal) <= MAX_PAYLOAD:
        yield nal
        return
    if encoding == "H264":
        kind, header = nal[0] & 0x1F, bytes([(nal[0] & 0xE0) | _H264_FU_A])
        body = memoryview(nal)[1:]
    else:
        kind, header = (nal[0] >> 1) & 0x3F, bytes([(nal[0] & 0x81) | (_H265_FU << 1), nal[1]])
        body = memoryview(nal)[2:]
    room = MAX_PAYLOAD - len(header) - 1
    for start in range(0, len(body), room):
        first, last = start == 0, start + room >= len(body)
        mark = bytes([(0x80 if first else 0) | (0x40 if last else 0) | kind])
        yield header + mark + bytes(body[start : start + room])


class Packetizer:
    """Turns coded frames into the RTP packets of one sender.

    Args:
        ssrc: identity of the sender, 32 bits.
        sequence: number of the first packet, 16 bits.
    """

    def __init__(self, clip: Clip, ssrc: int, sequence: int) -> None:
        self._clip = clip
        self._ssrc = ssrc
        self.sequence = sequence

    def packets(self, number: int) -> list[bytes]:
        """The packets of frame `number` of the endless loop. The last one has the marker bit."""
        timestamp = self._clip.timestamp(number)
        nals = self._clip.unit(number).nals
        parts = [p for nal in nals for p in payloads(self._clip.encoding, nal)]
        packets = []
        for i, part in enumerate(parts):
            marker = 0x80 if i == len(parts) - 1 else 0
            head = struct.pack(
                ">BBHII", 0x80, marker | PAYLOAD_TYPE, self.sequence, timestamp, self._ssrc
            )
            self.sequence = (self.sequence + 1) & 0xFFFF
            packets.append(head + part)
        return packets
