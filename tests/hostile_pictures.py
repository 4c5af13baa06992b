"""Small files that claim or need much: one maker for each way to hurt who decodes pictures.

`WIDTH` x `HEIGHT` is just below the 40 megapixels that are accepted by default.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 7300, 5465


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    bits: int,
    colour: int,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    before: bytes = b"",
    interlaced: bool = False,
    after: bytes = b"",
) -> bytes:
    """A PNG of zeros; `before` and `after` are whole chunks around the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer = zlib.compressobj(9)
    packed = bytearray()
    for width, height in _passes(size) if interlaced else [size]:
        left = height * (1 + (width * channels * bits + 7) // 8)
        while left:  # in blocks: there may be 39 million rows
            left -= len(zeros := bytes(min(left, 1 << 20)))
            packed += packer.compress(zeros)
    packed += packer.flush()
    head = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + before
        + chunk(b"IDAT", bytes(packed))
        + after
        + chunk(b"IEND", b"")
    )


def _passes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes of the seven passes of Adam7."""
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    steps.append((0, 1, 1, 2))
    sizes = [
        (-(-(size[0] - left) // across), -(-(size[1] - top) // down))
        for left, top, across, down in steps
    ]
    return [item for item in sizes if min(item) > 0]


PALETTE = chunk(b"PLTE", bytes(range(6))) + chunk(b"tRNS", b"\x80")


def compressed_texts(count: int) -> bytes:
    """Chunks that grow a thousand times, to the megabyte that Pillow allows each."""
    bomb = zlib.compress(bytes(1024 * 1024), 9)
    astral = zlib.compress("\N{GRINNING FACE}".encode() + b"a" * (1024 * 1024 - 4), 9)
    return b"".join(
        chunk(b"zTXt", b"k%d\0\0" % number + bomb)
        + chunk(b"iTXt", b"i%d\0\1\0\0\0" % number + astral)
        for number in range(count // 2)
    )


def profile_bomb() -> bytes:
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(64 * 1024 * 1024), 9))


def animated_png(frames: int) -> bytes:
    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0))

    whole = png(8, 6)
    pixels = zlib.compress(bytes(HEIGHT), 9)
    after = b"".join(
        control(2 * number + 1) + chunk(b"fdAT", struct.pack(">I", 2 * number + 2) + pixels)
        for number in range(frames)
    )
    start = whole.index(b"IDAT") - 4
    head = chunk(b"acTL", struct.pack(">II", frames + 1, 0)) + control(0)
    return whole[:start] + head + whole[start:-12] + after + whole[-12:]


def encoded(
    format: str, mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT), **options: Any
) -> bytes:
    """A picture of one colour by Pillow."""
    buffer = io.BytesIO()
    fill = (200, 100, 50, 128)[: len(Image.new(mode, (1, 1)).getbands())]
    Image.new(mode, size, fill if len(fill) > 1 else fill[0]).save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG without subsampling."""
    return encoded("JPEG", mode, **({"subsampling": 0} if mode == "RGB" else {}), **options)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(picture: bytes, segments: Iterable[bytes]) -> bytes:
    """The JPEG with segments put right behind its first marker."""
    return picture[:2] + b"".join(segments) + picture[2:]


def exif_bomb() -> bytes:
    """One block whose every entry refers to nearly all of it: Pillow copies it for each."""
    entries = 5_000
    room = 65_000 - 8 - 2 - 12 * entries
    body = b"II*\0" + struct.pack("<IH", 8, entries)
    for tag in range(entries):
        body += struct.pack("<HHII", 20_000 + tag, 7, 60_000 + room, 8)
    return segment(0xE1, b"Exif\0\0" + body + bytes(max(0, room)))


def turned(picture: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0)
    return with_segments(picture, [segment(0xE1, b"Exif\0\0" + tiff + bytes(4))])


def many_scans(scans: int) -> bytes:
    """A progressive JPEG that goes over its picture again and again and finds nothing new."""
    picture = jpeg("L", progressive=True)
    last = picture.rindex(b"\xff\xda")
    scan = picture[last:-2]
    return picture[:last] + scan * scans + b"\xff\xd9"


def frame_patched(picture: bytes, *, bits: int = 8, height: int | None = None) -> bytes:
    """A JPEG whose frame header says something else than what follows."""
    at = picture.index(b"\xff\xc0") + 4
    data = bytearray(picture)
    data[at] = bits
    if height is not None:
        data[at + 1 : at + 3] = struct.pack(">H", height)
    return bytes(data)


def bmp(
    bits: int, *, size: tuple[int, int] = (WIDTH, HEIGHT), compression: int = 0, pixels: bytes
) -> bytes:
    """A BMP with a palette of gray, or without one, and any bytes as pixels."""
    palette = b"".join(bytes((n, 255 - n, n, 0)) for n in range(1 << bits)) if bits <= 8 else b""
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, 0, 0, 0, 0, 0)
    offset = 14 + len(head) + len(palette)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + head + palette + pixels
    )


def animated_webp(frames: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """The first frame covers the canvas, the others a pixel or two of it."""
    whole = encoded("WEBP", "RGB", size, lossless=True)
    dot = encoded("WEBP", "RGB", (2, 2), lossless=True)

    def frame(picture: bytes, size: tuple[int, int]) -> bytes:
        where = b"".join((side - 1).to_bytes(3, "little") for side in size)
        body = bytes(6) + where + (100).to_bytes(3, "little") + b"\0" + picture[12:]
        return b"ANMF" + struct.pack("<I", len(body)) + body

    canvas = b"".join((side - 1).to_bytes(3, "little") for side in size)
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    body += b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    body += frame(whole, size) + frame(dot, (2, 2)) * (frames - 1)
    return b"RIFF" + struct.pack("<I", len(body)) + body


class _Bits:
    """A little-endian bit stream, as VP8L has it."""

    def __init__(self) -> None:
        self._value = 0
        self._count = 0
        self._out = bytearray()

    def put(self, value: int, count: int) -> None:
        self._value |= value << self._count
        self._count += count
        while self._count >= 8:
            self._out.append(self._value & 255)
            self._value >>= 8
            self._count -= 8

    def done(self) -> bytes:
        return bytes(self._out) + bytes([self._value & 255])


def _all_bytes_code(bits: _Bits, alphabet: int) -> None:
    """A prefix code with 8 bits for each of the first 256 symbols, and no others."""
    bits.put(0, 1)
    bits.put(12 - 4, 4)
    for place in range(12):
        bits.put(1 if place in (2, 11) else 0, 3)
    bits.put(0, 1)
    for symbol in range(alphabet):
        bits.put(int(symbol < 256), 1)


def many_groups_webp(size: tuple[int, int]) -> bytes:
    """A lossless WebP with 65,536 groups of prefix codes, spread over blocks of 4x4 pixels."""
    one_symbol = (0b0001, 4)
    mirror = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
    bits = _Bits()
    bits.put(0x2F, 8)
    bits.put(size[0] - 1, 14)
    bits.put(size[1] - 1, 14)
    bits.put(0, 1 + 3)  # no alpha, version 0
    bits.put(0, 1)  # no transforms
    bits.put(0, 1)  # no colour cache
    bits.put(1, 1)  # an entropy image follows
    bits.put(0, 3)  # of blocks of 4x4
    bits.put(0, 1)  # without a colour cache of its own
    _all_bytes_code(bits, 280)
    _all_bytes_code(bits, 256)
    for _ in range(3):
        bits.put(*one_symbol)
    for block in range(-(-size[0] // 4) * -(-size[1] // 4)):
        bits.put(mirror[block & 255], 8)
        bits.put(mirror[block >> 8 & 255], 8)
    for _ in range(65_536 * 5):
        bits.put(*one_symbol)
    body = bits.done() + bytes(8)
    body += bytes(len(body) % 2)
    file = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(file)) + file


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "PNG palette, transparent": lambda: png(1, 3, before=PALETTE),
    "PNG 16 bits gray": lambda: png(16, 0),
    "PNG 16 bits gray, transparent": lambda: png(16, 0, before=chunk(b"tRNS", b"\0\0")),
    "PNG 1 bit": lambda: png(1, 0),
    "PNG gray, alpha": lambda: png(8, 4),
    "PNG colour, transparent": lambda: png(8, 2, before=chunk(b"tRNS", bytes(6))),
    "PNG 16 bits colour, alpha": lambda: png(16, 6),
    "PNG interlaced": lambda: png(8, 2, interlaced=True),
    "PNG compressed texts": lambda: png(8, 0, size=(64, 64), before=compressed_texts(60)),
    "PNG texts behind": lambda: png(8, 0, size=(64, 64), after=compressed_texts(60)),
    "PNG colour profile": lambda: png(8, 0, size=(64, 64), before=profile_bomb()),
    "PNG animated": lambda: animated_png(500),
    "PNG wide": lambda: png(16, 6, size=(65_535, 600)),
    "PNG high": lambda: png(16, 6, size=(600, 65_535)),
    "JPEG": jpeg,
    "JPEG gray": lambda: jpeg("L"),
    "JPEG progressive": lambda: jpeg(progressive=True),
    "JPEG CMYK": lambda: jpeg("CMYK"),
    "JPEG CMYK, progressive": lambda: jpeg("CMYK", progressive=True),
    "JPEG turned": lambda: turned(jpeg(), 6),
    "JPEG turned, progressive": lambda: turned(jpeg(progressive=True), 7),
    "JPEG EXIF refers to itself": lambda: with_segments(
        encoded("JPEG", size=(64, 64)), [exif_bomb()]
    ),
    "JPEG EXIF in pieces": lambda: with_segments(
        encoded("JPEG", size=(64, 64)), [segment(0xE1, b"Exif\0\0II*\0")] * 60_000
    ),
    "JPEG with fewer rows than it says": lambda: frame_patched(
        encoded("JPEG", size=(WIDTH, 8)), height=HEIGHT
    ),
    "WebP lossy": lambda: encoded("WEBP", quality=50, method=0),
    "WebP lossy, alpha": lambda: encoded("WEBP", "RGBA", quality=50, method=0),
    "WebP lossless": lambda: encoded("WEBP", lossless=True, method=0, quality=0),
    "WebP lossless, alpha": lambda: encoded("WEBP", "RGBA", lossless=True, method=0, quality=0),
    "WebP animated": lambda: animated_webp(2_000, (4_000, 4_000)),
    "WebP many code groups": lambda: many_groups_webp((1_024, 1_024)),
    "WebP large, many code groups": lambda: many_groups_webp((WIDTH, HEIGHT)),
    "BMP": lambda: bmp(24, size=(2_500, 2_600), pixels=bytes(7_500 * 2_600)),
    "BMP 32 bits": lambda: bmp(32, size=(2_000, 2_400), pixels=bytes(8_000 * 2_400)),
    "BMP 1 bit": lambda: bmp(1, pixels=bytes((WIDTH + 31) // 32 * 4 * HEIGHT)),
    "BMP upside down": lambda: bmp(8, size=(4_000, -4_000), pixels=bytes(4_000 * 4_000)),
    "BMP run-length": lambda: bmp(
        8, size=(2_000, 2_000), compression=1, pixels=(b"\xfa\x07" * 8 + b"\0\0") * 2_000 + b"\0\1"
    ),
}
"""What is decoded, by what is special about it."""
