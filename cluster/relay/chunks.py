"""The RTMP chunk stream ("Real-Time Messaging Protocol 1.0", Adobe 2012, section 5.3).

Pure: assembles chunks into messages and splits messages into chunks. Every size that a camera
announces is bounded, and messages to a gateway are re-encoded in the simplest chunk format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_SIZE, PEER_BANDWIDTH = range(1, 7)
AUDIO, VIDEO, DATA, COMMAND = 8, 9, 18, 20

MAX_MESSAGE = 8 * 1024 * 1024
"""Bytes. The largest message is a key frame: below 3 MB at 25 Mbit/s with one every two seconds."""
MAX_PARTIAL = 2 * MAX_MESSAGE
"""Bytes held for all incomplete messages together: audio and video may be interleaved."""
MAX_STREAMS = 32
"""Chunk streams per connection; servers use fewer than ten."""
DEFAULT_CHUNK = 128
"""Bytes; the initial chunk size (section 5.4.1)."""
MIN_CHUNK = 64
"""Bytes. The specification requires at least 128; smaller chunks only cost CPU time."""
MAX_CHUNK = 0xFFFFFF
"""Bytes; the largest effective chunk size, since a message's length has 24 bits (section 5.4.1)."""
MAX_MESSAGES = 2048
"""Messages per read of 64 KB; audio messages have 100 bytes or more."""
CONTROL_STREAM = 2
"""The chunk stream reserved for protocol control messages (section 5.4)."""
_EXTENDED = 0xFFFFFF
"""Timestamp value that announces a 32-bit one (section 5.3.1.3)."""


class ChunkError(Exception):
    """The peer does not speak RTMP, or exceeds a limit."""


@dataclass(frozen=True, slots=True)
class RtmpMessage:
    """One message. `time_ms` counts from the start of the stream, modulo 2**32."""

    kind: int
    stream: int
    time_ms: int
    chunk_stream: int
    payload: bytes


@dataclass(slots=True)
class _Stream:
    time_ms: int = 0
    delta_ms: int = 0
    size: int = 0
    kind: int = 0
    stream: int = 0
    extended: bool = False
    partial: bytearray | None = None

    def move(self, form: int, stamp: int, before: _Stream) -> None:
        """Set the timestamp from a message header of the given format (section 5.3.1.2)."""
        if form == 0:
            self.time_ms, self.delta_ms = stamp, 0
        elif form < 3:
            self.time_ms, self.delta_ms = (before.time_ms + stamp) & 0xFFFFFFFF, stamp
        elif before.partial is None:
            self.time_ms = (before.time_ms + before.delta_ms) & 0xFFFFFFFF


class ChunkReader:
    """Assembles messages from chunks. Follows the chunk size that the peer sets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._chunk = DEFAULT_CHUNK

    def feed(self, data: bytes) -> Iterator[RtmpMessage]:
        """Take in bytes and yield the messages they complete, except chunk control messages.

        Raises:
            ChunkError: the peer violates the protocol or exceeds a limit.
        """
        self._buffer += data
        at, chunks = 0, 0
        try:
            while (step := self._chunk_at(at)) is not None:
                at, message = step
                chunks += 1
                if chunks > MAX_MESSAGES:
                    raise ChunkError("too many messages in one read")
                if message is not None and not self._handle_control(message):
                    yield message
        finally:
            del self._buffer[:at]

    def _chunk_at(self, at: int) -> tuple[int, RtmpMessage | None] | None:
        """Read one chunk. Returns None, without any state change, if it is incomplete."""
        head = self._basic(at)
        if head is None:
            return None
        form, number, at = head
        previous = self._streams.get(number)
        if previous is None:
            if form != 0 or len(self._streams) >= MAX_STREAMS:
                raise ChunkError("first chunk without a full header, or too many chunk streams")
            previous = _Stream()
        header = self._header(form, previous, at)
        if header is None:
            return None
        fields, at = header
        partial = previous.partial if previous.partial is not None else bytearray()
        size = fields.size
        if size > MAX_MESSAGE:
            raise ChunkError(f"message of {size} bytes is too large")
        part = min(self._chunk, size - len(partial))
        if len(self._buffer) < at + part:
            return None
        partial += self._buffer[at : at + part]
        fields.partial = partial
        self._streams[number] = fields
        if len(partial) < size:
            self._check_partial()
            return at + part, None
        fields.partial = None
        payload = bytes(partial)
        return at + part, RtmpMessage(fields.kind, fields.stream, fields.time_ms, number, payload)

    def _basic(self, at: int) -> tuple[int, int, int] | None:
        """Header format, chunk stream id, and the offset of the message header."""
        buffer = self._buffer
        if at >= len(buffer):
            return None
        form, low = buffer[at] >> 6, buffer[at] & 0x3F
        width = {0: 2, 1: 3}.get(low, 1)
        if at + width > len(buffer):
            return None
        if low == 0:
            return form, 64 + buffer[at + 1], at + 2
        if low == 1:
            return form, 64 + buffer[at + 1] + 256 * buffer[at + 2], at + 3
        return form, low, at + 1

    def _header(self, form: int, previous: _Stream, at: int) -> tuple[_Stream, int] | None:
        width = (11, 7, 3, 0)[form]
        head = self._buffer[at : at + width]
        if len(head) < width:
            return None
        at += width
        fields = replace(previous)
        if form < 3:
            # A new header in the middle of a message discards it, as an abort does.
            fields.partial = None
            fields.extended = head[:3] == _EXTENDED.to_bytes(3, "big")
        if form < 2:
            fields.size = int.from_bytes(head[3:6], "big")
            fields.kind = head[6]
        if form == 0:
            fields.stream = int.from_bytes(head[7:11], "little")
        stamp = int.from_bytes(head[:3], "big")
        if fields.extended:
            more = self._buffer[at : at + 4]
            if len(more) < 4:
                return None
            at += 4
            stamp = int.from_bytes(more, "big")
        fields.move(form, stamp, previous)
        return fields, at

    def _check_partial(self) -> None:
        if (
            sum(len(s.partial) for s in self._streams.values() if s.partial is not None)
            > MAX_PARTIAL
        ):
            raise ChunkError("too much data in incomplete messages")

    def _handle_control(self, message: RtmpMessage) -> bool:
        if message.kind == SET_CHUNK_SIZE:
            size = int.from_bytes(message.payload[:4], "big") if len(message.payload) == 4 else 0
            if not MIN_CHUNK <= size <= 0x7FFFFFFF:
                raise ChunkError("invalid chunk size")
            self._chunk = min(size, MAX_CHUNK)
            return True
        if message.kind == ABORT:
            number = int.from_bytes(message.payload[:4], "big")
            if number in self._streams:
                self._streams[number].partial = None
            return True
        return False


class ChunkWriter:
    """Encodes messages, each with a full header.

    Args:
        chunk: chunk size in bytes; announced to the peer before the first message.
    """

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._announced = False

    def encode(self, message: RtmpMessage) -> bytes:
        parts = []
        if not self._announced:
            self._announced = True
            size = struct.pack(">I", self._chunk)
            parts += [_head(SET_CHUNK_SIZE, 0, 0, CONTROL_STREAM, 4), size]
        # Ids above 63 need longer headers, and no gateway distinguishes them.
        number = message.chunk_stream if 2 <= message.chunk_stream <= 63 else 63
        payload = message.payload
        parts.append(_head(message.kind, message.stream, message.time_ms, number, len(payload)))
        again = bytes([0xC0 | number])
        if message.time_ms >= _EXTENDED:
            again += struct.pack(">I", message.time_ms)
        for start in range(0, max(1, len(payload)), self._chunk):
            if start:
                parts.append(again)
            parts.append(payload[start : start + self._chunk])
        return b"".join(parts)


def _head(kind: int, stream: int, time_ms: int, number: int, size: int) -> bytes:
    stamp = min(time_ms, _EXTENDED)
    head = bytes([number]) + stamp.to_bytes(3, "big") + size.to_bytes(3, "big")
    head += bytes([kind]) + stream.to_bytes(4, "little")
    return head + (struct.pack(">I", time_ms) if stamp == _EXTENDED else b"")
