"""Parser for RTSP over TCP (RFC 2326; section 10.12 for interleaved packets).

Pure: takes in bytes and yields messages and runs of packets. Every size that the peer announces is
bounded here, because the readers behind the relay allocate whatever is announced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_HEAD = 32 * 1024
"""Bytes. A sealed URL of 4096 characters takes 5.5 KB and may appear twice in a request."""
MAX_BODY = 64 * 1024
"""Bytes. The SDP of a camera with many tracks and long parameter sets has some 4 KB."""
MAX_MESSAGES = 64
"""Messages per read of 64 KB; clients and cameras send one at a time."""
MAX_NOISE = 64 * 1024
"""Bytes. Some cameras send stray bytes between packets, but never more than a packet's worth."""

_DOLLAR = 0x24
"""First byte of an interleaved packet (section 10.12)."""
_START = re.compile(rb"\$|RTSP/1\.|[A-Z_]{3,20} \S")
_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TOKEN = re.compile(r"[A-Za-z0-9-]+")


class ProtocolError(Exception):
    """The peer does not speak RTSP, or exceeds a limit."""


@dataclass(frozen=True, slots=True)
class Packets:
    """One or more complete interleaved packets, unmodified."""

    data: bytes

    @property
    def has_media(self) -> bool:
        """Whether any of them is RTP. RTCP has the odd channels (RFC 2326, 10.12)."""
        at = 0
        while at + 4 <= len(self.data):
            if self.data[at + 1] % 2 == 0:
                return True
            at += 4 + (self.data[at + 2] << 8 | self.data[at + 3])
        return False


@dataclass(frozen=True, slots=True)
class Message:
    """A request or response.

    Attributes:
        start: the first line, without its line end.
        headers: in the order received, names as sent; a name may occur more than once.
    """

    start: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    @property
    def is_response(self) -> bool:
        return self.start.startswith("RTSP/")

    @property
    def status(self) -> int:
        """Status code of a response. Raises ProtocolError if the first line has none."""
        parts = self.start.split(None, 2)
        if len(parts) < 2 or not re.fullmatch(r"[1-5]\d\d", parts[1]):
            raise ProtocolError("response without a status code")
        return int(parts[1])

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        """URI of a request. Raises ProtocolError if the first line is not a request line."""
        parts = self.start.split(" ")
        if len(parts) != 3 or not parts[2].startswith("RTSP/1."):
            raise ProtocolError("not an RTSP request")
        return parts[1]

    def get(self, name: str) -> str | None:
        """The first header with that name."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def with_headers(self, changes: dict[str, str | None]) -> Message:
        """A copy with the given headers replaced; None removes a header."""
        gone = {name.lower() for name in changes}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in gone)
        new = tuple((name, value) for name, value in changes.items() if value is not None)
        return Message(self.start, (*new, *kept), self.body)

    def encode(self) -> bytes:
        """The wire format, with the actual length of the body."""
        lines = [self.start]
        lines += [f"{k}: {v}" for k, v in self.headers if k.lower() != "content-length"]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + self.body


class Framer:
    """Incremental parser. Buffers less than one message or packet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._noise = 0
        self._head: Message | None = None
        self._body_size = 0

    def feed(self, data: bytes) -> Iterator[Packets | Message]:
        """Take in bytes and yield the messages and packets they complete, in order.

        Raises:
            ProtocolError: the data is not RTSP or exceeds a limit. The stream cannot be resumed.
        """
        self._buffer += data
        messages = 0
        while self._buffer or self._head is not None:
            if self._head is None and self._buffer[0] == _DOLLAR:
                if not (run := self._packets()):
                    return
                yield Packets(run)
            elif self._head is not None or self._at_start():
                message = self._message()
                if message is None:
                    return
                messages += 1
                if messages > MAX_MESSAGES:
                    raise ProtocolError("too many messages in one read")
                yield message
            elif not self._skip_noise():
                return

    def _packets(self) -> bytes:
        """All complete packets at the start of the buffer."""
        buffer, end = self._buffer, 0
        while end + 4 <= len(buffer) and buffer[end] == _DOLLAR:
            size = 4 + (buffer[end + 2] << 8 | buffer[end + 3])
            if end + size > len(buffer):
                break
            end += size
        run = bytes(buffer[:end])
        if end:
            del buffer[:end]
            self._noise = 0
        return run

    def _at_start(self) -> bool:
        return _START.match(self._buffer) is not None

    def _skip_noise(self) -> bool:
        """Drop bytes up to the next possible item. Returns whether there is one."""
        found = _START.search(self._buffer)
        # The last bytes may be the first half of an item's start.
        end = found.start() if found else max(0, len(self._buffer) - 24)
        self._noise += end
        del self._buffer[:end]
        if self._noise > MAX_NOISE:
            raise ProtocolError("the peer does not speak RTSP")
        return found is not None

    def _message(self) -> Message | None:
        buffer = self._buffer
        if self._head is None:
            found = _HEAD_END.search(buffer, 0, MAX_HEAD)
            if found is None:
                if len(buffer) >= MAX_HEAD:
                    raise ProtocolError(f"headers exceed {MAX_HEAD} bytes")
                return None
            self._head = Message(*_parsed_head(bytes(buffer[: found.start()])))
            self._body_size = _content_length(self._head)
            del buffer[: found.end()]
        if len(buffer) < self._body_size:
            return None
        head, self._head = self._head, None
        body = bytes(buffer[: self._body_size])
        del buffer[: self._body_size]
        self._noise = 0
        return Message(head.start, head.headers, body)


def _parsed_head(head: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    start, *lines = (line.decode("utf-8", "surrogateescape") for line in _LINE_END.split(head))
    pairs = (line.partition(":") for line in lines)
    headers = ((name.strip(), value.strip()) for name, _, value in pairs)
    # Folded and malformed header lines are not needed here and are dropped.
    return start, tuple((n, v) for n, v in headers if _TOKEN.fullmatch(n) and "\r" not in v)


def _content_length(head: Message) -> int:
    text = head.get("Content-Length") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > MAX_BODY:
        raise ProtocolError(f"body of {text[:20]} bytes is too large")
    return int(text)
