"""A picture's header, read without decoding a pixel.

The parsers walk the parts of a file and keep which of them the pixels need. Only those are given to
a decoder (`essence`), so text, colour profiles, EXIF blocks and further frames cost nothing: Pillow
would parse them all, and a 64 kB EXIF block alone can take 350 MB.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.errors import InputError
from serve.api.problems import MediaTypeError, TooLargeError
from serve.api.vp8l import table_bytes

# JPEG cannot be larger. PNG could, up to 2^31, and decoders hold whole rows.
MAX_SIDE = 65_535

# PNG chunks or JPEG segments. One chunk per row of the tallest picture is still fewer; walking and
# decoding this many empty ones takes some 0.3 s.
MAX_PARTS = 70_000

# EXIF blocks of more than 64 kB are spread over segments; cameras use one, some editors a few.
# Also as many segments of JFIF and of Adobe, which define how colours are coded; one is usual.
_MAX_SAME_SEGMENTS = 16

# As Pillow has it (PngImagePlugin.MAX_TEXT_CHUNK): a compressed text beyond it is not read.
_MAX_TEXT_BYTES = 1024 * 1024

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

_SOI, _SOS, _APP0, _APP1, _APP14 = 0xD8, 0xDA, 0xE0, 0xE1, 0xEE
# Huffman and quantization tables, arithmetic conditioning, restart interval.
_TABLES = frozenset({0xC4, 0xDB, 0xCC, 0xDD})
_RESTARTS = range(0xD0, 0xD8)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\x00"

_RLE = (1, 2)
_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class PictureFormat(StrEnum):
    """The formats that are read, by Pillow's names."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    BMP = "BMP"


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What decides what a picture costs, and which of its bytes hold pixels.

    Attributes:
        width, height: pixels as stored, before the orientation is applied; 1..MAX_SIDE.
        channels: samples per pixel in the file (WebP: of the frame); 1 for gray and palettes.
        bits: bits per sample (BMP: per pixel).
        alpha: WebP only: whether the picture as a whole has alpha, which its frame may ignore.
        coefficients: JPEG: samples per pixel whose coefficients are all kept until the last scan
            has been read; 0 where rows are decoded as they come.
        scans: JPEG: how often the file goes over the picture, never counted too low.
        tables: WebP: bytes that the decoder keeps for code tables; 0 where nothing is lossless.
        run_length: BMP: whether it is run-length encoded.
        orientation: 1..8 as EXIF has it; 1 where it is missing or invalid.
        offset: WebP animations: left, top of the first frame on the canvas, else None.
        frame: width and height of what is decoded: the first frame of an animation, or the picture.
        parts: byte ranges (start, end) of the file that the decoder needs.
    """

    format: PictureFormat
    width: int
    height: int
    channels: int = 3
    bits: int = 8
    alpha: bool = False
    coefficients: float = 0.0
    scans: int = 1
    tables: int = 0
    run_length: bool = False
    orientation: int = 1
    offset: tuple[int, int] | None = None
    frame: tuple[int, int] = (0, 0)
    parts: tuple[tuple[int, int], ...] = ()

    @property
    def upright(self) -> tuple[int, int]:
        """Width, height after the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def broken() -> InputError:
    return InputError(
        "The picture is broken or cut off.", hint="Check that the whole file was sent."
    )


def not_read_here(what: str = "This is not a picture in a format that is read here.") -> InputError:
    return MediaTypeError(what, hint="Send a JPEG, PNG, WebP or BMP.")


def read_header(data: bytes) -> PictureHeader:
    """The header of a file; time and memory do not grow with what it claims to hold.

    Raises:
        InputError: no bytes, or a header that is broken.
        MediaTypeError: not a JPEG, PNG, WebP or BMP, or a kind of them that is not read.
        TooLargeError: a side is longer than MAX_SIDE, or the file has more than MAX_PARTS parts.
    """
    if not data:
        raise InputError("The picture is empty.", hint="Send the file's bytes as `image`.")
    try:
        header = _reader(data)(data)
    except struct.error as error:
        raise broken() from error
    if max(header.width, header.height) > MAX_SIDE:
        raise TooLargeError(
            f"The picture has more than {MAX_SIDE:,} pixels on a side.", hint="Scale it down first."
        )
    if min(header.width, header.height) < 1:
        raise not_read_here("The picture's header gives it no width or no height.")
    return (
        header if header.frame != (0, 0) else replace(header, frame=(header.width, header.height))
    )


def _reader(data: bytes) -> Callable[[bytes], PictureHeader]:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if data.startswith(_PNG_MAGIC):
        return _png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp
    if data.startswith(b"BM"):
        return _bmp
    raise not_read_here()


def _too_many_parts() -> InputError:
    return TooLargeError(
        f"The picture's file has more than {MAX_PARTS:,} parts.",
        hint="Save it anew with an image editor.",
    )


# JPEG


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end (marker included) of each segment, up to and with the first SOS."""
    at = 2
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        while 0 <= at < len(data) - 1 and data[at + 1] == 0xFF:
            at += 1
        if at < 0 or at + 2 > len(data):
            return
        marker = data[at + 1]
        if marker in (0x00, 0x01, _SOI) or marker in _RESTARTS:
            at += 2
            continue
        if at + 4 > len(data):
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        yield marker, at, end
        if marker == _SOS:
            return
        at = max(end, at + 4)
    raise _too_many_parts()


def _jpeg(data: bytes) -> PictureHeader:
    parts, exif, xmp, frame, scan = [(0, 2)], list[bytes](), b"", None, None
    colours = 0
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        if marker == _APP1 and body[:6] == b"Exif\0\0" and len(exif) < _MAX_SAME_SEGMENTS:
            exif.append(body[6:])
        elif marker == _APP1 and body[: len(_XMP_SEGMENT)] == _XMP_SEGMENT:
            xmp = body
        elif marker in _FRAMES:
            frame = (marker, body)
        elif marker == _SOS:
            scan = (start, body)
        elif marker in (_APP0, _APP14):
            colours += 1
        if marker in _FRAMES | _TABLES or (
            marker in (_APP0, _APP14) and colours <= _MAX_SAME_SEGMENTS
        ):
            parts.append((start, end))
    if frame is None:
        raise not_read_here()
    header = replace(_jpeg_frame(*frame), orientation=_orientation(b"".join(exif), xmp))
    if scan is None:
        raise broken()
    start, components = scan
    # Within coded data 0xFF is followed by 0x00 or a restart, so this finds each scan. It also
    # counts what only looks like one in segments between them, and the scans of what follows.
    scans = data.count(b"\xff\xda", start)
    several = frame[0] in _PROGRESSIVE or components[:1] < bytes([header.channels])
    return replace(
        header,
        coefficients=header.coefficients if several else 0.0,
        scans=scans,
        parts=(*parts, (start, len(data))),
    )


def _jpeg_frame(marker: int, body: bytes) -> PictureHeader:
    bits, height, width, channels = struct.unpack_from(">BHHB", body)
    if bits != 8:
        raise not_read_here(f"A JPEG of {bits} bits per sample is not read here.")
    if channels not in (1, 3, 4):
        raise not_read_here(f"A JPEG of {channels} components is not read here.")
    if height == 0:
        raise not_read_here("A JPEG whose height comes after its pixels (DNL) is not read here.")
    samples = [struct.unpack_from("BBB", body, 6 + 3 * i)[1] for i in range(channels)]
    across = [max(1, item >> 4) for item in samples]
    down = [max(1, item & 15) for item in samples]
    whole = max(across) * max(down)
    coefficients = sum(x * y for x, y in zip(across, down, strict=True)) / whole
    return PictureHeader(
        PictureFormat.JPEG, width, height, channels=channels, coefficients=coefficients
    )


# PNG


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end (length and checksum included) of each chunk, up to and with IEND."""
    at = len(_PNG_MAGIC)
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, min(at + 12 + length, len(data))
        if name == b"IEND":
            return
        at += 12 + length
    raise _too_many_parts()


def _png(data: bytes) -> PictureHeader:
    parts, exif, texts = [(0, len(_PNG_MAGIC))], b"", dict[bytes, bytes]()
    for name, start, end in _chunks(data):
        body = memoryview(data)[start + 8 : max(start + 8, end - 4)]
        if (len(parts) == 1) != (name == b"IHDR"):
            # The first chunk is the header, and no other is.
            raise not_read_here() if len(parts) == 1 else broken()
        if name == b"eXIf":
            exif = bytes(body[:_MAX_TEXT_BYTES])
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            for key in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
                if body[: len(key) + 1] == key + b"\0":
                    texts[key] = _text(name, body[len(key) + 1 :])
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            parts.append((start, end))
    width, height, bits, colour = struct.unpack_from(">IIBB", data, len(_PNG_MAGIC) + 8)
    if colour not in _PNG_CHANNELS:
        raise not_read_here()
    if not exif and (raw := texts.get(b"Raw profile type exif")):
        exif = _raw_profile(raw)
    return PictureHeader(
        PictureFormat.PNG,
        width,
        height,
        channels=_PNG_CHANNELS[colour],
        bits=bits,
        orientation=_orientation(exif, texts.get(b"XML:com.adobe.xmp", b"")),
        parts=tuple(parts),
    )


def _text(name: bytes, body: memoryview) -> bytes:
    """What follows the keyword of a text chunk, decompressed up to a limit; else empty."""
    if name == b"tEXt":
        return bytes(body[:_MAX_TEXT_BYTES])
    if name == b"iTXt":
        # compression flag and method, language and translated keyword, each ended by a zero
        packed, fields = bytes(body[:1]) == b"\1", bytes(body[2 : 2 + 2 * 1024]).split(b"\0", 2)
        body = body[2 + sum(len(field) + 1 for field in fields[:2]) :]
        if not packed:
            return bytes(body[:_MAX_TEXT_BYTES])
    else:
        body = body[1:]
    try:
        return zlib.decompressobj().decompress(body, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """An EXIF block as ImageMagick writes it: three lines, then hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


# WebP


def _riff(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end (name, size and padding included) of the chunks in a range."""
    for _ in range(MAX_PARTS):
        if at + 8 > end:
            return
        name, size = struct.unpack_from("<4sI", data, at)
        stop = min(at + 8 + size + size % 2, end)
        yield name, at, stop
        at = stop
    raise _too_many_parts()


def _webp(data: bytes) -> PictureHeader:
    canvas, exif, xmp, frame, offset, transparent = None, b"", b"", None, None, False
    chunks = list[tuple[bytes, int, int]]()
    for name, start, end in _riff(data, 12, len(data)):
        if name == b"VP8X" and canvas is None:
            canvas = (_u24(data, start + 12) + 1, _u24(data, start + 15) + 1)
            transparent = bool(data[start + 8] & 0x10)
        elif name in (b"VP8 ", b"VP8L", b"ALPH") and offset is None:
            chunks.append((name, start, end))
        elif name == b"ANMF" and offset is None:
            # The first frame alone; the others are not needed.
            offset = (2 * _u24(data, start + 8), 2 * _u24(data, start + 11))
            frame = (_u24(data, start + 14) + 1, _u24(data, start + 17) + 1)
            chunks = list(_riff(data, start + 24, end))
        elif name == b"EXIF":
            exif = data[start + 8 : end][:_MAX_TEXT_BYTES]
        elif name == b"XMP ":
            xmp = data[start + 8 : end][:_MAX_TEXT_BYTES]
    chunks = [item for item in chunks if item[0] in (b"ALPH", b"VP8 ", b"VP8L")]
    if not chunks:
        raise broken() if canvas else not_read_here()
    size, alpha, tables = _webp_frame(data, chunks)
    width, height = canvas or size
    if (frame or canvas or size) != size:
        raise broken()
    if offset and (offset[0] + size[0] > width or offset[1] + size[1] > height):
        raise broken()
    return PictureHeader(
        PictureFormat.WEBP,
        width,
        height,
        channels=4 if alpha else 3,
        alpha=transparent if canvas else alpha,
        tables=tables,
        orientation=_orientation(exif, xmp),
        offset=offset,
        frame=size,
        parts=tuple((start, end) for _, start, end in chunks),
    )


def _webp_frame(
    data: bytes, chunks: list[tuple[bytes, int, int]]
) -> tuple[tuple[int, int], bool, int]:
    """Size, whether there is alpha, and the bytes of code tables, of one frame's chunks."""
    alpha = next((data[start + 8 : end] for kind, start, end in chunks if kind == b"ALPH"), b"")
    name, start, end = next((item for item in chunks if item[0] != b"ALPH"), chunks[0])
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, start + 9)
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        return size, bool(bits >> 28 & 1), table_bytes(data[start + 13 : end], *size)
    width, height = struct.unpack_from("<HH", data, start + 14)
    size = (width & 0x3FFF, height & 0x3FFF)
    # The lower two bits of the first byte: 0 is not compressed, 1 is lossless.
    tables = table_bytes(alpha[1:], *size) if alpha and alpha[0] & 3 else 0
    return size, bool(alpha), tables


def _u24(data: bytes, at: int) -> int:
    low, high = struct.unpack_from("<HB", data, at)
    return int(low | high << 16)


# BMP


def _bmp(data: bytes) -> PictureHeader:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    elif size in (40, 52, 56, 64, 108, 124):
        width, height, _, bits, compression = struct.unpack_from("<IiHHI", data, 18)
    else:
        raise not_read_here("A BMP with such a header is not read here.")
    return PictureHeader(
        PictureFormat.BMP,
        width,
        abs(height),
        bits=bits,
        channels=1 if bits <= 8 else 3,
        run_length=compression in _RLE,
        parts=((0, len(data)),),
    )


# Orientation


def _orientation(exif: bytes, xmp: bytes) -> int:
    """1..8 of an EXIF block (a small TIFF, perhaps behind `Exif` marks), else of XMP, else 1."""
    for _ in range(2):
        exif = exif.removeprefix(b"Exif\0\0")
    try:
        found = _tiff_orientation(exif)
    except struct.error:
        # Cameras write odd EXIF blocks; the pixels are good without.
        found = None
    if found is None and (match := _XMP_ORIENTATION.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else 1


def _tiff_orientation(tiff: bytes) -> int | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
        if tag == _ORIENTATION and count == 1 and kind in (3, 4):
            (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, entry + 8)
            return int(value)
    return None
