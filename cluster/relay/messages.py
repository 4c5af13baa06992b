"""RTSP as it travels over TCP (RFC 2326, and section 10.12 for interleaved packets), taken apart.

Pure: bytes in, messages and runs of packets out. Every size that the other side announces is
bounded here, because those who read behind us allocate what they are told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_HEAD = 32 * 1024
"""The longest request has a sealed URL of 4096 characters, which takes 5.5 KB, perhaps twice."""
MAX_BODY = 64 * 1024
"""SDP of a camera with many tracks and long parameter sets has some 4 KB."""
MAX_MESSAGES = 64
"""In what was read at once, 64 KB: clients and cameras send one at a time."""
MAX_NOISE = 64 * 1024
"""Some cameras put stray bytes between packets; more than one packet of them is no camera."""

_DOLLAR = 0x24
_START = re.compile(rb"\$|RTSP/1\.|[A-Z_]{3,20} \S")
_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TOKEN = re.compile(r"[A-Za-z0-9-]+")


class ProtocolError(Exception):
    """The other side does not speak RTSP, or goes beyond a bound."""


@dataclass(frozen=True, slots=True)
class Packets:
    """One or more whole interleaved packets, as they came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A request or response.

    Attributes:
        start: first line, without its end.
        headers: names as they came, in order; a name may come twice.
    """

    start: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    @property
    def is_response(self) -> bool:
        return self.start.startswith("RTSP/")

    @property
    def status(self) -> int:
        """Of a response. Raises ProtocolError where the first line has none."""
        parts = self.start.split(None, 2)
        if len(parts) < 2 or not re.fullmatch(r"[1-5]\d\d", parts[1]):
            raise ProtocolError("a response without a status")
        return int(parts[1])

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        """Of a request. Raises ProtocolError where the first line is none."""
        parts = self.start.split(" ")
        if len(parts) != 3 or not parts[2].startswith("RTSP/1."):
            raise ProtocolError("no RTSP request")
        return parts[1]

    def get(self, name: str) -> str | None:
        """The first header of that name."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def with_headers(self, changes: dict[str, str | None]) -> Message:
        """The message with headers replaced, or removed where the value is None."""
        gone = {name.lower() for name in changes}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in gone)
        new = tuple((name, value) for name, value in changes.items() if value is not None)
        return Message(self.start, (*new, *kept), self.body)

    def encode(self) -> bytes:
        """As it goes over the wire; the length of the body is its true one."""
        lines = [self.start]
        lines += [f"{k}: {v}" for k, v in self.headers if k.lower() != "content-length"]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + self.body


class Framer:
    """Takes a stream of bytes apart, however it is cut. Holds less than one message or packet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._noise = 0
        self._head: Message | None = None
        self._body_size = 0

    def feed(self, data: bytes) -> Iterator[Packets | Message]:
        """What is complete now, in order.

        Raises:
            ProtocolError: no RTSP, or beyond a bound. The stream is of no use any more.
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
                    raise ProtocolError("too many messages at once")
                yield message
            elif not self._skip_noise():
                return

    def _packets(self) -> bytes:
        """As many whole packets as stand at the beginning."""
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
        """Drop bytes that begin nothing. Returns whether something may begin now."""
        found = _START.search(self._buffer)
        # What stands at the very end may be the first half of a beginning.
        end = found.start() if found else max(0, len(self._buffer) - 24)
        self._noise += end
        del self._buffer[:end]
        if self._noise > MAX_NOISE:
            raise ProtocolError("the other side does not speak RTSP")
        return found is not None

    def _message(self) -> Message | None:
        buffer = self._buffer
        if self._head is None:
            found = _HEAD_END.search(buffer, 0, MAX_HEAD)
            if found is None:
                if len(buffer) >= MAX_HEAD:
                    raise ProtocolError(f"a head of more than {MAX_HEAD} bytes")
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
    # A line that continues another, or is none at all, is of no use to anybody here.
    return start, tuple((n, v) for n, v in headers if _TOKEN.fullmatch(n) and "\r" not in v)


def _content_length(head: Message) -> int:
    text = head.get("Content-Length") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > MAX_BODY:
        raise ProtocolError(f"a body of {text[:20]} bytes")
    return int(text)
