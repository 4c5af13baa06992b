"""What an HTTP camera sends, told from its first bytes, and made safe for those who read it.

Pure. Gateways allocate what a part of a stream announces and read whole files into memory, so here
every announced size is checked, and what is not known as video does not pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from urllib.parse import urljoin

from cluster.relay.flv import UnknownMediaError

MAX_PICTURE = 16 * 1024 * 1024
"""A JPEG of 8K at best quality has some 12 MB."""
MAX_PART = 32 * 1024 * 1024
"""A file of a playlist: ten seconds at 25 Mbit/s."""
MAX_PLAYLIST = 1024 * 1024
MAX_PART_HEAD = 8 * 1024
PEEK = 4096
"""Some cameras put text before their first JPEG (go2rtc 747)."""

BOUNDARY = b"atalaia"
JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"


class Media(StrEnum):
    """What a body is."""

    PICTURES = "multipart"
    """JPEG after JPEG, each with a head (multipart/x-mixed-replace)."""
    RAW_PICTURES = "mjpeg"
    """JPEG after JPEG, with nothing between."""
    PICTURE = "jpeg"
    """One JPEG; its reader asks again for the next."""
    PLAYLIST = "playlist"
    FLV = "flv"
    STREAM = "stream"
    """MPEG-TS, H.264, AAC or a part of an MP4: their formats bound the sizes in them."""


_STREAM_STARTS = (b"\x47", b"\x00\x00\x00\x01", b"\xff\xf1", b"\xff\xf9", b"ID3")
_MP4_BOXES = (b"ftyp", b"styp", b"moof", b"sidx", b"moov", b"emsg", b"prft")


def media_of(content_type: str, first: bytes) -> Media:
    """What a body is.

    Args:
        content_type: as the camera says; may be empty.
        first: up to PEEK bytes of the body.

    Raises:
        UnknownMediaError: none of these.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/x-mixed-replace" or first.startswith(b"--"):
        return Media.PICTURES
    if kind == "image/jpeg":
        return Media.PICTURE
    if first.startswith(b"#EXTM3U"):
        return Media.PLAYLIST
    if first.startswith(b"FLV"):
        return Media.FLV
    if first.startswith(_STREAM_STARTS) or first[4:8] in _MP4_BOXES:
        return Media.STREAM
    if JPEG_START in first:
        return Media.RAW_PICTURES
    raise UnknownMediaError(f"{kind or 'a body without a type'} is no video")


class Pictures:
    """Takes multipart/x-mixed-replace apart and puts it together again, with checked sizes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whole parts, each with a head of our own. Raises UnknownMediaError beyond a bound."""
        self._buffer += data
        while (picture := self._next()) is not None:
            yield part_of(picture)

    def _next(self) -> bytes | None:
        buffer = self._buffer
        found = re.match(rb"(?:[ \t]*\r?\n|--[^\r\n]*\r?\n(?=\r?\n|--))*--[^\r\n]*\r?\n", buffer)
        start = found.end() if found else 0
        if found is None:
            if len(buffer) > MAX_PART_HEAD or not re.match(rb"[\r\n \t]*(--|-?$)", buffer):
                raise UnknownMediaError("a part without a boundary")
            return None
        ended = re.compile(rb"\r?\n\r?\n").search(buffer, start, start + MAX_PART_HEAD)
        if ended is None:
            if len(buffer) - start > MAX_PART_HEAD:
                raise UnknownMediaError("a part with an endless head")
            return None
        announced = re.search(
            rb"(?im)^content-length:[ \t]*(\d{1,9})[ \t]*\r?$", buffer[start : ended.end()]
        )
        body = ended.end()
        end = body + int(announced[1]) if announced else self._undeclared_end(body)
        if (announced or end < 0) and max(end, len(buffer) if end < 0 else 0) - body > MAX_PICTURE:
            raise UnknownMediaError(f"a picture of more than {MAX_PICTURE} bytes")
        if end < 0 or len(buffer) < end:
            return None
        picture = bytes(buffer[body:end])
        del buffer[:end]
        return picture

    def _undeclared_end(self, body: int) -> int:
        """Where a part without a length ends: before the next boundary. -1 where not yet seen."""
        found = re.compile(rb"\r?\n--").search(self._buffer, body)
        return found.start() if found else -1


def part_of(picture: bytes) -> bytes:
    """A JPEG as a part of our own multipart body."""
    head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % (BOUNDARY, len(picture)) + picture + b"\r\n"


class RawPictures:
    """The same for JPEG after JPEG with nothing between. They end up as parts, too."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whole pictures as parts. Raises UnknownMediaError where one does not end."""
        self._buffer += data
        while True:
            # The end of one and the start of the next: FF D9 alone may stand in a thumbnail.
            at = self._buffer.find(JPEG_END + JPEG_START[:2], max(0, self._seen - 3))
            if at < 0:
                break
            picture = bytes(self._buffer[: at + 2])
            del self._buffer[: at + 2]
            self._seen = 0
            start = picture.find(JPEG_START)
            if start >= 0:
                yield part_of(picture[start:])
        self._seen = len(self._buffer)
        if self._seen > MAX_PICTURE:
            raise UnknownMediaError(f"a picture of more than {MAX_PICTURE} bytes")


_URI = re.compile(r'URI="([^"\r\n]*)"')


def rewritten_playlist(text: str, base: str, link: Callable[[str, bool], str | None]) -> str:
    """A playlist (RFC 8216) in which every address leads through `link`.

    Args:
        base: URL of the playlist, which relative addresses refer to.
        link: a relay's URL for an absolute one and whether that is a playlist too; None where it
            may not be linked. Those lines are left out.
    """
    lines: list[str] = []
    variant = False
    for line in text.splitlines():
        if line.startswith("#"):
            variant = line.startswith("#EXT-X-STREAM-INF")
            lines.append(_URI.sub(lambda uri: _attribute(uri, base, link), line))
        elif line.strip():
            target = link(urljoin(base, line.strip()), variant)
            if target is not None:
                lines.append(target)
            variant = False
    return "\n".join([*lines, ""])


def _attribute(uri: re.Match[str], base: str, link: Callable[[str, bool], str | None]) -> str:
    address = urljoin(base, uri[1])
    target = link(address, address.partition("?")[0].lower().endswith(".m3u8"))
    return f'URI="{target or ""}"'
