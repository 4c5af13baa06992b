"""Pictures that strangers send end as right pixels or as an InputError, never as anything else."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.errors import InputError
from serve.api.images import BACKGROUND, decode
from serve.api.problems import MediaTypeError, TooLargeError


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def half_red(size: tuple[int, int] = (64, 32)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    return image


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
    ],
)
def test_every_format_keeps_its_colours(format: str, options: dict[str, object]) -> None:
    pixels = decode(encoded(half_red(), format, **options), 40)

    assert pixels.shape == (32, 64, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[16, 8].astype(int) - (255, 0, 0)).max() <= 4
    assert np.abs(pixels[16, 56].astype(int) - (0, 0, 255)).max() <= 4


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "1", "LA", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    format = "JPEG" if mode == "CMYK" else "PNG"
    white = Image.new("RGB", (16, 8), (255, 255, 255)).convert(mode)

    pixels = decode(encoded(white, format), 40)

    assert pixels.shape == (8, 16, 3)
    assert pixels.min() >= 250


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16)[None, :].repeat(4, axis=0)

    pixels = decode(encoded(Image.fromarray(ramp), "PNG"), 40)

    assert np.array_equal(pixels[0, :, 0], np.arange(256))


def test_transparent_pixels_show_the_background() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))

    pixels = decode(encoded(image, "PNG"), 40)

    assert tuple(pixels[0, 0]) == (255, 0, 0)
    assert tuple(pixels[3, 3]) == (BACKGROUND,) * 3


@pytest.mark.parametrize(
    ("orientation", "shape", "red_at"),
    [
        (1, (32, 64), (16, 8)),
        (2, (32, 64), (16, 56)),
        (3, (32, 64), (16, 56)),
        (4, (32, 64), (16, 8)),
        (5, (64, 32), (8, 16)),
        (6, (64, 32), (8, 16)),
        (7, (64, 32), (56, 16)),
        (8, (64, 32), (56, 16)),
        (99, (32, 64), (16, 8)),
    ],
)
def test_exif_orientation_is_applied(
    orientation: int, shape: tuple[int, int], red_at: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    pixels = decode(encoded(half_red(), "JPEG", quality=95, exif=exif), 40)

    assert pixels.shape[:2] == shape
    assert pixels[red_at][0] > 200
    assert pixels[red_at][2] < 60


def test_a_broken_exif_block_does_not_spoil_the_picture() -> None:
    data = encoded(half_red(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")

    assert decode(data, 40).shape == (32, 64, 3)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InputError),
        (b"hello, this is a text file\n" * 10, MediaTypeError),
        (b"\xff\xd8\xff", MediaTypeError),
        (b"GIF89a" + bytes(64), MediaTypeError),
        (b"%PDF-1.7\n" + bytes(64), MediaTypeError),
        (encoded(half_red(), "GIF"), MediaTypeError),
        (encoded(half_red(), "TIFF"), MediaTypeError),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", MediaTypeError),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, error: type[InputError]) -> None:
    with pytest.raises(error):
        decode(data, 40)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_picture_is_refused(format: str) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format)

    with pytest.raises(InputError):
        decode(data[: len(data) // 2], 40)


def test_the_size_is_checked_before_decoding() -> None:
    """A PNG header that claims 60 megapixels, with no pixels behind it."""
    header = struct.pack(">IIBBBBB", 10_000, 6_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )

    with pytest.raises(TooLargeError, match="40 megapixels"):
        decode(data, 40)


@pytest.mark.parametrize("size", [(16_000, 16_000), (7_000, 6_000)])
def test_more_pixels_than_allowed_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(TooLargeError):
        decode(encoded(Image.new("1", size), "PNG"), 40)


@pytest.mark.parametrize("size", [(1, 1), (4_000, 1), (1, 4_000)])
def test_odd_sizes_are_fine(size: tuple[int, int]) -> None:
    assert decode(encoded(Image.new("RGB", size), "PNG"), 40).shape == (size[1], size[0], 3)


SEEDS = [
    encoded(half_red(), "JPEG", exif=Image.Exif()),
    encoded(half_red(), "JPEG", progressive=True),
    encoded(half_red(), "PNG"),
    encoded(half_red().convert("P"), "PNG", transparency=0),
    encoded(Image.new("I;16", (8, 8)), "PNG"),
    encoded(half_red(), "WEBP"),
    encoded(half_red(), "BMP"),
]


@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 4_000),
    tail=st.binary(max_size=40),
)
@settings(max_examples=400, deadline=None)
def test_no_bytes_break_the_decoder(
    seed: bytes, edits: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    data = bytearray(seed)
    for at, value in edits:
        data[at % len(data)] = value
    broken = bytes(data[: max(1, len(data) - cut % len(data))]) + tail

    try:
        pixels = decode(broken, 1)
    except InputError:
        return
    assert pixels.ndim == 3
    assert pixels.dtype == np.uint8
