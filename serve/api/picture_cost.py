"""What decoding a picture costs at its peak, from its header alone.

`tests/integration/api/test_picture_memory.py` decodes the worst of each kind in a process of its
own and fails where the peak is above the estimate.

While a picture is decoded, memory holds the file (`_FILE_COPIES`), the decoder's own picture
(`_stored`), what the decoder needs beside it (`_beside`), and then, instead of the latter, the
result. The two phases do not overlap, so the peak is the larger one:

| format | decoder's picture, bytes per pixel | beside it, until decoded |
|---|---|---|
| JPEG | gray 1; colours, CMYK 4 | baseline 0; progressive or scan by scan: 2 per sample |
| PNG | palette, gray up to 8 bits 1; gray of 16 bits 2; others 4 | two rows |
| BMP | up to 8 bits 1; others 4 | run-length encoded 2 |
| WebP | 3, with alpha 4 | lossy: OpenCV's second copy, 3 or 4; lossless: 5.5 and code tables |
"""

from __future__ import annotations

from serve.api.picture_header import PictureFormat, PictureHeader
from serve.api.problems import TooLargeError

# The bytes that were read, those of them that hold pixels, and the decoder's own copy.
_FILE_COPIES = 3

# Bands on their way through crop, composition and conversion (see `images.BAND_PIXELS`), rows
# inside the decoders, and what the allocator keeps: 5 to 9 MB were measured on pictures of 1 pixel
# to 40 megapixels.
_FIXED = 12_000_000

# Scans times megapixels. Each scan walks all blocks even if it holds nothing: 1 ms per megapixel.
# 40 megapixels with the ten scans that encoders write are 400.
MAX_SCAN_MEGAPIXELS = 800
MAX_SCANS = 100

# Pillow decodes run-length encoded BMPs in Python: 0.15 s per megapixel and per megabyte.
MAX_RUN_LENGTH_PIXELS = 4_000_000


def memory_needed(header: PictureHeader, file_bytes: int, max_side: int | None = None) -> int:
    """Bytes that decoding takes at its peak, above what the process had before.

    Args:
        header: as `read_header` gives it.
        file_bytes: length of the whole file.
        max_side: as of `images.decode`.
    """
    stored = _stored(header)
    pixels = stored + max(_beside(header), _result(header, max_side))
    return pixels + _FILE_COPIES * file_bytes + _FIXED


def check_time(header: PictureHeader, file_bytes: int) -> None:
    """Raises TooLargeError for what is small in memory and takes a decoder too long."""
    megapixels = header.width * header.height / 1e6
    if header.scans > MAX_SCANS or header.scans * megapixels > MAX_SCAN_MEGAPIXELS:
        raise TooLargeError(
            f"The JPEG has {header.scans} scans, too many for its size.",
            hint="Save it without progressive scans, or scale it down.",
        )
    if header.run_length and max(megapixels * 1e6, file_bytes) > MAX_RUN_LENGTH_PIXELS:
        raise TooLargeError(
            f"A run-length encoded BMP may have {MAX_RUN_LENGTH_PIXELS // 1_000_000} megapixels.",
            hint="Save it without compression, or as PNG.",
        )


def _stored(header: PictureHeader) -> int:
    canvas = header.width * header.height
    if header.format is PictureFormat.WEBP:
        if header.offset is None:
            return canvas * header.channels
        frame = header.frame[0] * header.frame[1]
        # The frame beside a canvas with alpha, where it does not cover it.
        covers = header.frame == (header.width, header.height)
        return frame * header.channels + (0 if covers else 4 * canvas)
    if header.channels > 1:
        return canvas * 4
    return canvas * (2 if header.bits == 16 else 1)


def _beside(header: PictureHeader) -> int:
    pixels = header.frame[0] * header.frame[1]
    if header.format is PictureFormat.JPEG:
        # Blocks of 8x8, and of up to 32x32 with subsampling, are whole at the edges.
        width, height = (-(-side // 32) * 32 for side in (header.width, header.height))
        return int(2 * header.coefficients * width * height)
    if header.run_length:
        return 2 * pixels
    if header.format is PictureFormat.WEBP:
        # Lossless: 4 bytes per pixel, the transforms' and the blocks' pictures at 1/16 of the size,
        # and the plane of a lossy picture's alpha.
        return int(5.5 * pixels) + header.tables if header.tables else header.channels * pixels
    return 0


def _result(header: PictureHeader, max_side: int | None) -> int:
    width, height = header.upright
    if max_side is None or max(width, height) <= max_side:
        return 3 * width * height
    # Scaled in one direction and then in the other, at 4 bytes per pixel; then the array of it.
    narrow = max(1, round(width * max_side / max(width, height)))
    return 4 * narrow * height + 8 * max_side * max_side
