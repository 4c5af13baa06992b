"""Pictures that strangers send end as right pixels or as an InputError, never as anything else."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

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


def plainly(data: bytes, max_side: int | None) -> np.ndarray:
    """The same by Pillow's conversions of whole pictures, as it was done before the bands."""
    image = Image.open(io.BytesIO(data))
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        gray = (np.asarray(image).astype(np.int64).clip(0, 65_535) >> 8).astype(np.uint8)
        pixels = np.repeat(gray[:, :, None], 3, axis=2)
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        pixels = np.asarray(Image.alpha_composite(ground, layer).convert("RGB"))
    else:
        pixels = np.asarray(image.convert("RGB"))
    if max_side is None or max(pixels.shape) <= max_side:
        return pixels
    scale = max_side / max(pixels.shape)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def noisy(mode: str, size: tuple[int, int] = (157, 93)) -> Image.Image:
    """Smooth enough for JPEG, different everywhere, with every alpha."""
    rng = np.random.default_rng(3)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65_536, size[::-1], dtype=np.uint16))
    coarse = rng.integers(0, 256, (12, 16, 4), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


EVERY_KIND = [
    *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
    *(("JPEG", mode, {"progressive": True}) for mode in ("RGB", "L", "CMYK")),
    ("JPEG", "RGB", {"subsampling": 0, "icc_profile": b"x" * 200_000, "comment": b"hello"}),
    *(("PNG", mode, {}) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "P", {"transparency": bytes(range(256))}),
    ("PNG", "L", {"transparency": 7}),
    ("PNG", "1", {"transparency": 1}),
    ("PNG", "RGB", {"transparency": (1, 2, 3)}),
    *(("WEBP", mode, {"lossless": True}) for mode in ("RGB", "RGBA")),
    *(("WEBP", mode, {"quality": 70}) for mode in ("RGB", "RGBA")),
    ("WEBP", "RGBA", {"quality": 30, "alpha_quality": 40, "exact": True}),
    *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
]


@pytest.mark.parametrize("max_side", [None, 64])
@pytest.mark.parametrize(("format", "mode", "options"), EVERY_KIND)
def test_bands_give_the_pixels_of_the_whole(
    format: str,
    mode: str,
    options: dict[str, object],
    max_side: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Seven rows at a time, so that there are several bands and the last one is shorter.
    monkeypatch.setattr("serve.api.images.BAND_PIXELS", 157 * 7)
    data = encoded(noisy(mode), format, **options)

    assert np.array_equal(decode(data, 40, max_side), plainly(data, max_side))


@pytest.mark.parametrize("max_side", [None, 64])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_bands_are_turned_as_the_whole(
    format: str, orientation: int, max_side: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.images.BAND_PIXELS", 157 * 7)
    exif = Image.Exif()
    exif[0x010F] = "a maker before it, and longer than four bytes"
    exif[0x0112] = orientation
    data = encoded(noisy("RGB"), format, exif=exif.tobytes())

    assert np.array_equal(decode(data, 40, max_side), plainly(data, max_side))


def test_of_an_animation_it_is_the_first_frame() -> None:
    frames = [noisy("RGBA"), noisy("RGBA").transpose(Image.Transpose.ROTATE_180)]
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 80})):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)

        assert np.array_equal(decode(data, 40), plainly(data, None))


@pytest.mark.parametrize(("flags", "rest"), [(0x12, BACKGROUND), (0x02, 0)])
def test_a_first_frame_that_does_not_cover_the_canvas(flags: int, rest: int) -> None:
    """What it leaves is transparent where the file says that it has alpha, and else black."""
    frame = encoded(half_red((4, 2)), "WEBP", lossless=True)[12:]

    def sides(*values: int) -> bytes:
        return b"".join(value.to_bytes(3, "little") for value in values)

    body = sides(1, 2, 3, 1) + bytes(4) + frame
    parts = b"VP8X" + struct.pack("<I", 10) + bytes((flags, 0, 0, 0)) + sides(9, 7)
    parts += b"ANIM" + struct.pack("<IIH", 6, 0, 0) + b"ANMF" + struct.pack("<I", len(body)) + body
    data = b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WEBP" + parts

    pixels = decode(data, 40)

    assert np.array_equal(pixels, plainly(data, None))
    assert pixels.shape == (8, 10, 3)
    assert tuple(pixels[0, 0]) == (rest,) * 3
    assert tuple(pixels[4, 2]) == (255, 0, 0)
