"""FLV tags, over HTTP or as RTMP messages: forwards well-formed ones only.

Pure. FLV readers trust the lengths inside a tag (go2rtc crashes on a tag of one byte,
pkg/flv/producer.go at v1.9.14), so tags with inconsistent lengths are dropped.
Formats: "Adobe Flash Video File Format 10.1", "Enhanced RTMP v1", ISO/IEC 14496-15.
"""

from __future__ import annotations

from collections.abc import Iterator

AUDIO_TAG, VIDEO_TAG, DATA_TAG = 8, 9, 18
SIGNATURE = b"FLV\x01"
HEADER = SIGNATURE + b"\x05\x00\x00\x00\x09"
"""Flags for audio and video; the first tag follows the header directly."""
MAX_TAG = 8 * 1024 * 1024
"""Bytes; one key frame, see `chunks.MAX_MESSAGE`."""
MAX_CONFIG = 4096
"""Bytes of a decoder configuration; parameter sets take some hundred."""
MAX_UNITS = 1024
"""NAL units per access unit; a frame has one slice, or a few tens."""
_AAC, _H264, _HEVC = 10, 7, 12
_LENGTH = 4
"""Bytes of a NAL unit's length prefix, as go2rtc and nearly all cameras use it."""


class UnknownMediaError(Exception):
    """The bytes are not a supported media format, or exceed a limit."""


def is_well_formed(kind: int, payload: bytes) -> bool:
    """Whether all lengths inside a tag (or RTMP message) of that kind are consistent."""
    if kind == AUDIO_TAG:
        return _valid_audio(payload)
    if kind == VIDEO_TAG:
        return _valid_video(payload)
    return kind == DATA_TAG


def _valid_audio(payload: bytes) -> bool:
    if len(payload) < 2:
        return False
    config = payload[0] >> 4 == _AAC and payload[1] == 0
    return not config or 4 <= len(payload) <= MAX_CONFIG


def _valid_video(payload: bytes) -> bool:
    if len(payload) < 5:
        return False
    if payload[0] & 0x80:
        return _valid_enhanced(payload)
    codec, kind = payload[0] & 0x0F, payload[1]
    if codec not in (_H264, _HEVC) or kind > 2:
        return False
    if kind == 2:  # the end of a sequence has no body
        return True
    if kind == 1:
        return _valid_units(payload[5:])
    return _valid_avc_config(payload[5:]) if codec == _H264 else _valid_hevc_config(payload[5:])


def _valid_enhanced(payload: bytes) -> bool:
    kind = payload[0] & 0x0F
    if kind == 0:
        return payload[1:5] != b"hvc1" or _valid_hevc_config(payload[5:])
    if kind == 1:
        return len(payload) >= 8 and _valid_units(payload[8:])
    return kind != 3 or _valid_units(payload[5:])


def _valid_units(data: bytes) -> bool:
    """Length-prefixed NAL units."""
    at = units = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + _LENGTH], "big")
        at += _LENGTH + size
        units += 1
        if size == 0 or units > MAX_UNITS:
            return False
    return at == len(data) and at > 0


def _valid_avc_config(config: bytes) -> bool:
    """AVCDecoderConfigurationRecord."""
    if not 7 <= len(config) <= MAX_CONFIG or config[0] != 1 or config[4] & 3 != _LENGTH - 1:
        return False
    at = 5
    for mask in (0x1F, 0xFF):
        if at >= len(config):
            return False
        count = config[at] & mask
        at += 1
        if count == 0:
            return False
        for _ in range(count):
            size = int.from_bytes(config[at : at + 2], "big")
            if at + 2 + size > len(config) or size < 4:
                return False
            at += 2 + size
    return True


def _valid_hevc_config(config: bytes) -> bool:
    """HEVCDecoderConfigurationRecord."""
    if not 23 <= len(config) <= MAX_CONFIG or config[21] & 3 != _LENGTH - 1:
        return False
    at = 23
    for _ in range(config[22]):
        if at + 3 > len(config):
            return False
        units = int.from_bytes(config[at + 1 : at + 3], "big")
        at += 3
        for _ in range(units):
            size = int.from_bytes(config[at : at + 2], "big")
            if at + 2 + size > len(config) or size < 2:
                return False
            at += 2 + size
    return config[22] > 0


class FlvTags:
    """Parses an FLV stream and re-emits its well-formed tags behind a new header."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes and yield the output that may be forwarded.

        Raises:
            UnknownMediaError: the stream is not FLV, or a tag is too large.
        """
        self._buffer += data
        if not self._begun:
            if len(self._buffer) < len(HEADER):
                return
            skip = int.from_bytes(self._buffer[5:9], "big")
            if not self._buffer.startswith(SIGNATURE) or not 9 <= skip <= MAX_CONFIG:
                raise UnknownMediaError("missing FLV header")
            if len(self._buffer) < skip:
                return
            del self._buffer[:skip]
            self._begun = True
            yield HEADER
        while (tag := self._next()) is not None:
            if is_well_formed(tag[4], tag[15:]):
                yield tag

    def _next(self) -> bytes | None:
        """The next tag, preceded by its `PreviousTagSize` field."""
        buffer = self._buffer
        if len(buffer) < 15:
            return None
        size = int.from_bytes(buffer[5:8], "big")
        if size > MAX_TAG:
            raise UnknownMediaError(f"FLV tag of {size} bytes is too large")
        if len(buffer) < 15 + size:
            return None
        tag = bytes(buffer[: 15 + size])
        del buffer[: 15 + size]
        return tag
