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

MAX_IMAGE = 16 * 1024 * 1024
"""A JPEG of 8K at best quality has some 12 MB."""
MAX_PART = 32 * 1024 * 1024
"""A file of a playlist: ten seconds at 25 Mbit/s."""
MAX_PLAYLIST = 1024 * 1024
MAX_PLAYLIST_LINKS = 1000
"""Some hours of ten-second files; sealing them takes 40 ms."""
MAX_PART_HEAD = 8 * 1024
PEEK = 4096
"""Some cameras put text before their first JPEG (go2rtc 747)."""

BOUNDARY = b"atalaia"
JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"


_BOUNDARY = re.compile(rb"(?:[ \t]*\r?\n)*+--[^\r\n]*+\r?\n(?:--[^\r\n]*+\r?\n)?")
"""One camera writes every boundary twice (go2rtc 1258)."""
_BOUNDARY_BEGUN = re.compile(rb"[\r\n \t]*+(?:--|-?$)")
_HEAD_END = re.compile(rb"(?<=\n)\r?\n|\r?\n\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,9})[ \t]*\r?$")
_NEXT_BOUNDARY = re.compile(rb"\r?\n--")


class Media(StrEnum):
    """What a body is."""

    MULTIPART_IMAGES = "multipart"
    """JPEG after JPEG, each with a head (multipart/x-mixed-replace)."""
    RAW_IMAGES = "mjpeg"
    """JPEG after JPEG, with nothing between."""
    IMAGE = "jpeg"
    """One JPEG; its reader asks again for the next."""
    PLAYLIST = "playlist"
    FLV = "flv"
    TRANSPORT_STREAM = "mpeg-ts"
    STREAM = "stream"
    """H.264, AAC or a part of an MP4."""


_STREAM_STARTS = (b"\x00\x00\x00\x01", b"\xff\xf1", b"\xff\xf9", b"ID3")
_MP4_BOXES = (b"ftyp", b"styp", b"moof", b"sidx", b"moov", b"emsg", b"prft")


def media_of(content_type: str, first: bytes, *, part: bool = False) -> Media:
    """What a body is. Gateways decide by the first bytes too, and must come to the same.

    Args:
        part: it is a file of a playlist, which alone may be a part of an MP4.
        content_type: as the camera says; may be empty.
        first: up to PEEK bytes of the body.

    Raises:
        UnknownMediaError: none of these.
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
    raise UnknownMediaError(f"{kind or 'a body without a type'} is no video")


class MultipartImages:
    """Takes multipart/x-mixed-replace apart and puts it together again, with checked sizes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_part = False
        self._size: int | None = None
        self._seen = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whole parts, each with a head of our own. Raises UnknownMediaError beyond a bound."""
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
        """Drop the boundary and head of a part. Returns whether they were whole."""
        buffer = self._buffer
        found = _BOUNDARY.match(buffer, 0, 2 * MAX_PART_HEAD)
        ended = _HEAD_END.search(buffer, found.end() - 1, 3 * MAX_PART_HEAD) if found else None
        if ended is None:
            if not _BOUNDARY_BEGUN.match(buffer) or len(buffer) > MAX_PART_HEAD:
                raise UnknownMediaError("a part without a boundary, or with an endless head")
            return False
        announced = _LENGTH.search(buffer, 0, ended.end())
        self._size = int(announced[1]) if announced else None
        if self._size is not None and self._size > MAX_IMAGE:
            raise UnknownMediaError(f"a picture of more than {MAX_IMAGE} bytes")
        del buffer[: ended.end()]
        self._in_part, self._seen = True, 0
        return True

    def _end(self) -> int | None:
        """Where the part ends: by its length, else before the next boundary."""
        buffer = self._buffer
        if self._size is not None:
            return self._size if len(buffer) >= self._size else None
        found = _NEXT_BOUNDARY.search(buffer, max(0, self._seen - 4))
        if found is not None:
            return found.start()
        self._seen = len(buffer)
        if self._seen > MAX_IMAGE:
            raise UnknownMediaError(f"a picture of more than {MAX_IMAGE} bytes")
        return None


def part_of(image: bytes) -> bytes:
    """A JPEG as a part of our own multipart body."""
    head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % (BOUNDARY, len(image)) + image + b"\r\n"


class RawImages:
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
            image = bytes(self._buffer[: at + 2])
            del self._buffer[: at + 2]
            self._seen = 0
            start = image.find(JPEG_START)
            if start >= 0:
                yield part_of(image[start:])
        self._seen = len(self._buffer)
        if self._seen > MAX_IMAGE:
            raise UnknownMediaError(f"a picture of more than {MAX_IMAGE} bytes")


# Tags that say how to read the files that are named on lines of their own (RFC 8216, 4.3). All
# others may name addresses, in ways that each reader understands differently, and are left out.
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
    """A playlist (RFC 8216) in which every address leads through `link`.

    Args:
        base: URL of the playlist, which relative addresses refer to.
        link: a relay's URL for an absolute one and whether that is a playlist too; None where it
            may not be linked. Those lines are left out, and so is every tag that is not known.

    Raises:
        UnknownMediaError: it has too many lines.
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
    """The tag, written anew; nothing where it is not known."""
    if line.startswith(_STREAM_INF):
        bandwidth, codecs = _BANDWIDTH.search(line), _CODECS.search(line)
        attributes = [f"BANDWIDTH={bandwidth[1] if bandwidth else 1}"]
        attributes += [f'CODECS="{codecs[1]}"'] if codecs else []
        return [_STREAM_INF + ",".join(attributes)]
    if found := _MAP.fullmatch(line):
        target = _absolute(found[1], base, link, False)
        return [f'#EXT-X-MAP:URI="{target}"'] if target else []
    if line.startswith("#EXTINF:"):
        line = line.partition(",")[0] + ","  # the title is for people
    return [line] if _PLAIN_TAGS.fullmatch(line) else []


def _absolute(address: str, base: str, link: Link, playlist: bool) -> str | None:
    try:
        return link(urljoin(base, address), playlist)
    except ValueError:
        return None  # no address at all
