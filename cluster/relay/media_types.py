"""Identifies what an HTTP camera sends by its first bytes, and sanitizes it for the gateway.

Pure. Gateways allocate whatever size a part announces and read whole files into memory, so every
announced size is checked here, and only known video formats pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from urllib.parse import urljoin

from cluster.relay.flv import UnknownMediaError

MAX_IMAGE = 16 * 1024 * 1024
"""Bytes. An 8K JPEG at best quality has some 12 MB."""
MAX_PART = 32 * 1024 * 1024
"""Bytes of one playlist segment: ten seconds at 25 Mbit/s."""
MAX_PLAYLIST = 1024 * 1024
"""Bytes: MAX_PLAYLIST_LINKS lines of 1 KB."""
MAX_PLAYLIST_LINKS = 1000
"""Some hours of ten-second segments; sealing their URLs takes 40 ms."""
MAX_PART_HEAD = 8 * 1024
"""Bytes; cameras send some hundred."""
PEEK = 4096
"""Bytes inspected to identify the format. Some cameras send text before the first JPEG (go2rtc
issue 747)."""

BOUNDARY = b"atalaia"
"""Of the relay's own multipart bodies."""
JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"


_BOUNDARY = re.compile(rb"(?:[ \t]*\r?\n)*+--[^\r\n]*+\r?\n(?:--[^\r\n]*+\r?\n)?")
"""One camera model sends every boundary twice (go2rtc issue 1258)."""
_BOUNDARY_BEGUN = re.compile(rb"[\r\n \t]*+(?:--|-?$)")
_HEAD_END = re.compile(rb"(?<=\n)\r?\n|\r?\n\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,9})[ \t]*\r?$")
_NEXT_BOUNDARY = re.compile(rb"\r?\n--")


class Media(StrEnum):
    """Format of a response body."""

    MULTIPART_IMAGES = "multipart"
    """JPEG images, each with its own headers (multipart/x-mixed-replace)."""
    RAW_IMAGES = "mjpeg"
    """Concatenated JPEG images without separators."""
    IMAGE = "jpeg"
    """A single JPEG; the reader requests the next one."""
    PLAYLIST = "playlist"
    FLV = "flv"
    TRANSPORT_STREAM = "mpeg-ts"
    STREAM = "stream"
    """H.264, AAC or a fragment of an MP4."""


_STREAM_STARTS = (b"\x00\x00\x00\x01", b"\xff\xf1", b"\xff\xf9", b"ID3")
_MP4_BOXES = (b"ftyp", b"styp", b"moof", b"sidx", b"moov", b"emsg", b"prft")


def media_of(content_type: str, first: bytes, *, part: bool = False) -> Media:
    """Identify the format of a body. Gateways use the first bytes too and must reach the same
    result.

    Args:
        part: whether it is a playlist segment; only those may be MP4 fragments.
        content_type: from the response headers; may be empty.
        first: up to PEEK bytes of the body.

    Raises:
        UnknownMediaError: the format is not supported.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/x-mixed-replace" or first.startswith(b"--"):
        return Media.MULTIPART_IMAGES
    if kind == "image/jpeg":
        return Media.IMAGE
    if first.startswith(b"#EXTM3U"):
        return Media.PLAYLIST
    if first.startswith(b"FLV"):
        return Media.FLV
    if first.startswith(b"\x47"):
        return Media.TRANSPORT_STREAM
    if first.startswith(_STREAM_STARTS) or (
        part and first.startswith(bytes(3)) and first[4:8] in _MP4_BOXES
    ):
        return Media.STREAM
    if JPEG_START in first:
        return Media.RAW_IMAGES
    raise UnknownMediaError(f"{kind or 'a body without a type'} is not video")


class MultipartImages:
    """Parses multipart/x-mixed-replace and re-encodes it with checked sizes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_part = False
        self._size: int | None = None
        self._seen = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes and yield complete parts with rewritten headers.

        Raises:
            UnknownMediaError: the stream is malformed or exceeds a limit.
        """
        self._buffer += data
        while self._in_part or self._read_head():
            end = self._end()
            if end is None:
                return
            image = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._in_part = False
            yield part_of(image)

    def _read_head(self) -> bool:
        """Consume the boundary and headers of a part. Returns False if they are incomplete."""
        buffer = self._buffer
        found = _BOUNDARY.match(buffer, 0, 2 * MAX_PART_HEAD)
        ended = _HEAD_END.search(buffer, found.end() - 1, 3 * MAX_PART_HEAD) if found else None
        if ended is None:
            if not _BOUNDARY_BEGUN.match(buffer) or len(buffer) > MAX_PART_HEAD:
                raise UnknownMediaError("multipart boundary missing, or part headers too long")
            return False
        announced = _LENGTH.search(buffer, 0, ended.end())
        self._size = int(announced[1]) if announced else None
        if self._size is not None and self._size > MAX_IMAGE:
            raise UnknownMediaError(f"image exceeds {MAX_IMAGE} bytes")
        del buffer[: ended.end()]
        self._in_part, self._seen = True, 0
        return True

    def _end(self) -> int | None:
        """The end of the part: by its length if announced, else before the next boundary."""
        buffer = self._buffer
        if self._size is not None:
            return self._size if len(buffer) >= self._size else None
        found = _NEXT_BOUNDARY.search(buffer, max(0, self._seen - 4))
        if found is not None:
            return found.start()
        self._seen = len(buffer)
        if self._seen > MAX_IMAGE:
            raise UnknownMediaError(f"image exceeds {MAX_IMAGE} bytes")
        return None


def part_of(image: bytes) -> bytes:
    """Encode a JPEG as one part of the relay's multipart body."""
    head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % (BOUNDARY, len(image)) + image + b"\r\n"


class RawImages:
    """Splits concatenated JPEG images and encodes each as a multipart part."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes and yield complete images as parts.

        Raises:
            UnknownMediaError: an image exceeds MAX_IMAGE.
        """
        self._buffer += data
        while True:
            # An end marker followed by a start marker: FF D9 alone may belong to a thumbnail.
            at = self._buffer.find(JPEG_END + JPEG_START[:2], max(0, self._seen - 3))
            if at < 0:
                break
            image = bytes(self._buffer[: at + 2])
            del self._buffer[: at + 2]
            self._seen = 0
            start = image.find(JPEG_START)
            if start >= 0:
                yield part_of(image[start:])
        self._seen = len(self._buffer)
        if self._seen > MAX_IMAGE:
            raise UnknownMediaError(f"image exceeds {MAX_IMAGE} bytes")


# Tags that describe the segments listed on lines of their own (RFC 8216, 4.3). All other tags may
# contain URLs, which readers interpret differently, and are dropped.
_PLAIN_TAGS = re.compile(
    r"#(?:EXTM3U|EXT-X-(?:VERSION|TARGETDURATION|MEDIA-SEQUENCE|DISCONTINUITY-SEQUENCE):\d{1,20}"
    r"|EXT-X-(?:DISCONTINUITY|ENDLIST|INDEPENDENT-SEGMENTS)|EXT-X-PLAYLIST-TYPE:(?:EVENT|VOD)"
    r"|EXTINF:[\d.]{1,20},?|EXT-X-PROGRAM-DATE-TIME:[\dT:.Z+-]{10,40})"
)
_STREAM_INF = "#EXT-X-STREAM-INF:"
_BANDWIDTH = re.compile(r"(?:^|[:,])BANDWIDTH=(\d{1,12})")
_CODECS = re.compile(r'(?:^|[:,])CODECS="([\w.,]{1,80})"')
_MAP = re.compile(r'#EXT-X-MAP:URI="([^"\r\n]*)"')

Link = Callable[[str, bool], str | None]


def rewritten_playlist(text: str, base: str, link: Link) -> str:
    """Rewrite a playlist (RFC 8216) so that all URLs go through `link`. Unknown tags are dropped.

    Args:
        base: URL of the playlist, against which relative URLs are resolved.
        link: maps an absolute URL, and whether it is a playlist itself, to a relay URL; returns
            None to drop the line.

    Raises:
        UnknownMediaError: the playlist has too many lines.
    """
    if text.count("\n") > 4 * MAX_PLAYLIST_LINKS:
        raise UnknownMediaError(f"a playlist of more than {MAX_PLAYLIST_LINKS} files")
    lines: list[str] = []
    variant, links = False, 0
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            variant = line.startswith(_STREAM_INF)
            lines += _safe_tag(line, base, link)
        elif line:
            links += 1
            if links > MAX_PLAYLIST_LINKS:
                raise UnknownMediaError(f"a playlist of more than {MAX_PLAYLIST_LINKS} files")
            target = _absolute(line, base, link, variant)
            lines += [target] if target is not None else []
            variant = False
    return "\n".join([*lines, ""])


def _safe_tag(line: str, base: str, link: Link) -> list[str]:
    """The tag, re-encoded; empty if it is unknown."""
    if line.startswith(_STREAM_INF):
        bandwidth, codecs = _BANDWIDTH.search(line), _CODECS.search(line)
        attributes = [f"BANDWIDTH={bandwidth[1] if bandwidth else 1}"]
        attributes += [f'CODECS="{codecs[1]}"'] if codecs else []
        return [_STREAM_INF + ",".join(attributes)]
    if found := _MAP.fullmatch(line):
        target = _absolute(found[1], base, link, False)
        return [f'#EXT-X-MAP:URI="{target}"'] if target else []
    if line.startswith("#EXTINF:"):
        line = line.partition(",")[0] + ","  # drop the title
    return [line] if _PLAIN_TAGS.fullmatch(line) else []


def _absolute(address: str, base: str, link: Link, playlist: bool) -> str | None:
    try:
        return link(urljoin(base, address), playlist)
    except ValueError:
        return None  # not a URL
