"""RTMP's chunk stream ("Real-Time Messaging Protocol 1.0", Adobe 2012, section 5.3).

Pure: bytes in, whole messages out, and back. What a camera announces is bounded, and what goes to a
gateway is written anew, in the plainest form that there is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_SIZE, PEER_BANDWIDTH = range(1, 7)
AUDIO, VIDEO, DATA, COMMAND = 8, 9, 18, 20

MAX_MESSAGE = 8 * 1024 * 1024
"""One key frame; at 25 Mbit/s and a key frame every two seconds it is below 3 MB."""
MAX_PARTIAL = 2 * MAX_MESSAGE
"""In messages that are not complete: audio and video may be interleaved."""
MAX_STREAMS = 32
"""Chunk streams; servers use fewer than ten."""
DEFAULT_CHUNK = 128
MIN_CHUNK = 64
"""The specification wants 128 at least; smaller ones would only cost time."""
MAX_CHUNK = 0xFFFFFF
MAX_MESSAGES = 2048
"""In what was read at once, 64 KB: sound comes in messages of 100 bytes and more."""
CONTROL_STREAM = 2
_EXTENDED = 0xFFFFFF


class ChunkError(Exception):
    """The other side does not speak RTMP, or goes beyond a bound."""


@dataclass(frozen=True, slots=True)
class RtmpMessage:
    """A message. `time_ms` counts from the start of the stream, modulo 2**32."""

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
        """Set the time that a header of that form means (section 5.3.1.2)."""
        if form == 0:
            self.time_ms, self.delta_ms = stamp, 0
        elif form < 3:
            self.time_ms, self.delta_ms = (before.time_ms + stamp) & 0xFFFFFFFF, stamp
        elif before.partial is None:
            self.time_ms = (before.time_ms + before.delta_ms) & 0xFFFFFFFF


class ChunkReader:
    """Puts messages together. Follows the chunk size that the other side sets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._chunk = DEFAULT_CHUNK

    def feed(self, data: bytes) -> Iterator[RtmpMessage]:
        """Messages that are complete now, without those about chunks. Raises ChunkError."""
        self._buffer += data
        at, chunks = 0, 0
        try:
            while (step := self._chunk_at(at)) is not None:
                at, message = step
                chunks += 1
                if chunks > MAX_MESSAGES:
                    raise ChunkError("too many messages at once")
                if message is not None and not self._handle_control(message):
                    yield message
        finally:
            del self._buffer[:at]

    def _chunk_at(self, at: int) -> tuple[int, RtmpMessage | None] | None:
        """Read one chunk. None where it is not complete: nothing has changed then."""
        head = self._basic(at)
        if head is None:
            return None
        form, number, at = head
        previous = self._streams.get(number)
        if previous is None:
            if form != 0 or len(self._streams) >= MAX_STREAMS:
                raise ChunkError("a chunk that follows none, or too many chunk streams")
            previous = _Stream()
        header = self._header(form, previous, at)
        if header is None:
            return None
        fields, at = header
        partial = previous.partial if previous.partial is not None else bytearray()
        size = fields.size
        if size > MAX_MESSAGE:
            raise ChunkError(f"a message of {size} bytes")
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
        """Form, number of the chunk stream, and where the header goes on."""
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
            # In the middle of a message it gives that up, as an abort does.
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
            raise ChunkError("too much in messages that do not end")

    def _handle_control(self, message: RtmpMessage) -> bool:
        if message.kind == SET_CHUNK_SIZE:
            size = int.from_bytes(message.payload[:4], "big") if len(message.payload) == 4 else 0
            if not MIN_CHUNK <= size <= 0x7FFFFFFF:
                raise ChunkError("a chunk size that is none")
            self._chunk = min(size, MAX_CHUNK)
            return True
        if message.kind == ABORT:
            number = int.from_bytes(message.payload[:4], "big")
            if number in self._streams:
                self._streams[number].partial = None
            return True
        return False


class ChunkWriter:
    """Writes messages, each with a whole header.

    Args:
        chunk: bytes of a message between two headers. The other side is told first.
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
        # Numbers beyond 63 take more bytes, and no gateway needs to tell them apart.
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
