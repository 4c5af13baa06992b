"""Headers: what is read from them, what they cost, and what is refused for them alone."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageOps

from pipelines.errors import InputError
from serve.api.picture_cost import MAX_SCAN_MEGAPIXELS, MAX_SCANS, check_time, memory_needed
from serve.api.picture_header import (
    MAX_PARTS,
    MAX_SIDE,
    PictureFormat,
    PictureHeader,
    read_header,
)
from serve.api.problems import MediaTypeError, TooLargeError
from tests.hostile_pictures import (
    PALETTE,
    animated_webp,
    bmp,
    chunk,
    encoded,
    frame_patched,
    many_groups_webp,
    png,
    segment,
    turned,
    with_segments,
)

SIZE = (48, 32)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
RAW_EXIF = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0) + bytes(4)


def small(format: str, mode: str = "RGB", **options: Any) -> bytes:
    return encoded(format, mode, SIZE, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (small("JPEG"), {"format": PictureFormat.JPEG, "channels": 3, "scans": 1}),
        (small("JPEG", "L"), {"channels": 1, "coefficients": 0}),
        (small("JPEG", "CMYK", progressive=True), {"channels": 4, "coefficients": 4}),
        (small("JPEG", progressive=True, subsampling=0), {"coefficients": 3, "scans": 10}),
        (small("JPEG", progressive=True, subsampling=2), {"coefficients": 1.5}),
        (small("PNG"), {"format": PictureFormat.PNG, "channels": 3, "bits": 8}),
        (png(1, 3, size=SIZE, before=PALETTE), {"channels": 1, "bits": 1}),
        (png(16, 6, size=SIZE), {"channels": 4, "bits": 16}),
        (small("WEBP"), {"format": PictureFormat.WEBP, "channels": 3, "tables": 0}),
        (small("WEBP", "RGBA", lossless=True), {"channels": 4, "alpha": True}),
        (animated_webp(3, SIZE), {"offset": (0, 0), "frame": SIZE, "alpha": False}),
        (small("BMP"), {"format": PictureFormat.BMP, "bits": 24, "run_length": False}),
        (bmp(8, size=(48, -32), pixels=b""), {"channels": 1, "bits": 8}),
        (bmp(8, size=SIZE, compression=1, pixels=b""), {"run_length": True}),
    ],
)
def test_what_decides_the_cost_is_read(data: bytes, expected: dict[str, object]) -> None:
    header = read_header(data)

    assert (header.width, header.height) == SIZE
    assert {name: getattr(header, name) for name in expected} == expected


def test_a_jpeg_of_one_scan_for_each_colour_is_kept_as_coefficients() -> None:
    """Baseline too: here the first scan is made to name one of three components."""
    data = small("JPEG", subsampling=0)
    at = data.index(b"\xff\xda") + 4

    assert read_header(data).coefficients == 0
    assert read_header(data[:at] + b"\1" + data[at + 1 :]).coefficients == 3


@pytest.mark.parametrize(
    ("data", "orientation"),
    [
        (turned(small("JPEG"), 6), 6),
        (turned(small("JPEG"), 0), 1),
        (with_segments(small("JPEG"), [segment(0xE1, RAW_EXIF)]), 6),
        (
            with_segments(small("JPEG"), [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)]),
            8,
        ),
        (png(8, 2, size=SIZE, before=chunk(b"eXIf", RAW_EXIF[6:])), 6),
        (png(8, 2, size=SIZE, after=chunk(b"eXIf", RAW_EXIF[6:])), 6),
        (
            png(8, 2, size=SIZE, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
            8,
        ),
        (
            png(
                8,
                2,
                size=SIZE,
                before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(XMP)),
            ),
            8,
        ),
        (
            png(
                8,
                2,
                size=SIZE,
                before=chunk(
                    b"zTXt",
                    b"Raw profile type exif\0\0"
                    + zlib.compress(b"\nexif\n  30\n" + RAW_EXIF.hex().encode() + b"\n"),
                ),
            ),
            6,
        ),
        (small("WEBP", exif=RAW_EXIF), 6),
        (small("WEBP", xmp=XMP), 8),
        (small("BMP"), 1),
    ],
)
def test_orientation_is_what_pillow_finds(data: bytes, orientation: int) -> None:
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size

    header = read_header(data)
    assert header.orientation == orientation
    assert header.upright == shown


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (frame_patched(small("JPEG"), bits=12), MediaTypeError, "12 bits"),
        (frame_patched(small("JPEG"), height=0), MediaTypeError, "DNL"),
        (png(1, 0, size=(MAX_SIDE + 1, 1)), TooLargeError, "65,535"),
        (png(1, 0, size=(1, MAX_SIDE + 1)), TooLargeError, "65,535"),
        (png(8, 0, size=SIZE, before=chunk(b"abCd", b"") * MAX_PARTS), TooLargeError, "parts"),
        (
            with_segments(small("JPEG"), [segment(0xFE, b"")] * MAX_PARTS),
            TooLargeError,
            "parts",
        ),
        (bmp(24, size=(0, 5), pixels=b""), MediaTypeError, "no width"),
        (small("JPEG")[:200], InputError, "cut off|format"),
        (small("WEBP")[:24], InputError, "cut off"),
        (b"RIFF\0\0\0\0WEBP", MediaTypeError, "format"),
    ],
)
def test_what_a_header_is_refused_for(data: bytes, error: type[InputError], says: str) -> None:
    with pytest.raises(error, match=says):
        read_header(data)


@pytest.mark.parametrize(
    ("scans", "megapixels", "refused"),
    [
        (10, 40, False),
        (MAX_SCANS, 1, False),
        (MAX_SCANS + 1, 0.01, True),
        (MAX_SCAN_MEGAPIXELS // 40 + 1, 40, True),
    ],
)
def test_scans_are_bounded_by_number_and_by_size(
    scans: int, megapixels: float, refused: bool
) -> None:
    side = round((megapixels * 1e6) ** 0.5) - 1
    header = PictureHeader(PictureFormat.JPEG, side, side, scans=scans)

    if not refused:
        check_time(header, 1_000)
        return
    with pytest.raises(TooLargeError, match="scans"):
        check_time(header, 1_000)


def test_a_run_length_encoded_bmp_is_bounded_in_pixels_and_in_bytes() -> None:
    header = PictureHeader(PictureFormat.BMP, 2_000, 2_000, channels=1, run_length=True)

    check_time(header, 4_000_000)
    with pytest.raises(TooLargeError, match="run-length"):
        check_time(header, 4_000_001)


def test_the_cost_grows_with_what_is_held() -> None:
    def needed(max_side: int | None = None, file_bytes: int = 0, **fields: Any) -> int:
        header = PictureHeader(PictureFormat.JPEG, 4_000, 3_000, **fields)
        return memory_needed(header, file_bytes, max_side)

    fixed = needed() - 7 * 12_000_000
    assert 0 < fixed < 20_000_000
    assert needed(channels=1) - fixed == 4 * 12_000_000
    assert needed(file_bytes=1_000) - needed() == 3_000
    assert needed(1024) < needed()
    assert needed(5_000) == needed()
    # Coefficients and result are not there at the same time.
    assert needed(coefficients=1.0) == needed()
    assert needed(coefficients=4.0) > needed() + 4 * 12_000_000


# At its best, the encoder tries everything: 6 s for the larger size. It writes 1 to 1,200 groups of
# codes for either.
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((500, 400), {"method": 0}),
        ((500, 400), {"method": 4}),
        ((160, 120), {"method": 6, "quality": 100}),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_code_tables_of_what_encoders_write_are_small(
    mode: str, size: tuple[int, int], options: dict[str, int]
) -> None:
    """Where the walk through the transforms lost its way, it would count 65,536 groups: 1.3 GB."""
    noise = Image.effect_noise(size, 90)
    image = Image.merge("RGBA", (noise, noise.rotate(90), noise.rotate(180), noise)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, **options)

    assert 12_000 < read_header(buffer.getvalue()).tables < 60_000_000


def test_code_tables_of_many_groups_are_counted() -> None:
    assert read_header(many_groups_webp((1_024, 1_024))).tables > 380_000_000
