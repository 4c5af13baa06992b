"""Pictures that strangers send: from bytes to RGB, or to an error that says what is wrong.

The size is read from the header before anything is decoded, decoding runs in threads of its own,
and both the threads and the pictures that wait for them are bounded.
"""

from __future__ import annotations

import asyncio
import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile

from pipelines.errors import InputError, UnavailableError
from serve.api.problems import MediaTypeError, TooLargeError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

# A decoded 40-megapixel picture takes 120 MB, so two threads hold at most a quarter GB.
DECODER_THREADS = 2

# At 0.2 s for a large picture, the last one in the queue waits about 2 s.
MAX_WAITING = 16

# Transparent pixels show this: the gray of the letterbox border, which the model ignores.
BACKGROUND = 114

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow raises on broken files, by its documentation and by fuzzing (see the tests).
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    TypeError,
    KeyError,
    IndexError,
)

Rgb = npt.NDArray[np.uint8]


def decode(data: bytes, max_megapixels: float, max_side: int | None = None) -> Rgb:
    """RGB pixels, uint8 (height, width, 3), turned as the EXIF orientation says.

    Args:
        max_side: scale a larger picture down so that neither side is longer.

    Raises:
        InputError: no bytes, or a picture that is broken or cut off.
        MediaTypeError: not a JPEG, PNG, WebP or BMP.
        TooLargeError: more pixels than `max_megapixels`; nothing was decoded.
    """
    if not data:
        raise InputError("The picture is empty.", hint="Send the file's bytes as `image`.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    # Pillow warns of what is half as large; where warnings are errors, it says the same.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(max_megapixels) from None
    # ImportError: where ultralytics is loaded too, it replaces Pillow's `open` by one that wants
    # another package for whatever Pillow cannot identify.
    except (UnidentifiedImageError, ImportError):
        raise MediaTypeError(
            "This is not a picture in a format that is read here.",
            hint="Send a JPEG, PNG, WebP or BMP.",
        ) from None
    except _BROKEN as error:
        raise _broken() from error
    with image:
        if image.width * image.height > max_megapixels * 1_000_000:
            raise _too_large(max_megapixels)
        try:
            pixels = _to_rgb(_upright(image))
        except _BROKEN as error:
            raise _broken() from error
    return np.ascontiguousarray(pixels if max_side is None else _shrunk(pixels, max_side))


def _too_large(max_megapixels: float) -> TooLargeError:
    return TooLargeError(
        f"The picture has more than {max_megapixels:g} megapixels.", hint="Scale it down first."
    )


def _broken() -> InputError:
    return InputError(
        "The picture is broken or cut off.", hint="Check that the whole file was sent."
    )


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _BROKEN:
        # Cameras write odd EXIF blocks; the pixels are good without.
        orientation = 1
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Rgb:
    if image.mode.startswith("I"):
        # 16 bits per pixel; Pillow's own conversion would clip instead of scaling.
        gray = (np.asarray(image).astype(np.int64).clip(0, 65_535) >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        return np.asarray(Image.alpha_composite(ground, layer).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _shrunk(pixels: Rgb, max_side: int) -> Rgb:
    height, width = pixels.shape[:2]
    if max(height, width) <= max_side:
        return pixels
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


class ImageDecoder:
    """Decodes uploads off the event loop. Owned by the application, which closes it."""

    def __init__(self, max_bytes: int, max_megapixels: float) -> None:
        self._max_bytes = max_bytes
        self._max_megapixels = max_megapixels
        self._threads = ThreadPoolExecutor(DECODER_THREADS, thread_name_prefix="decode")
        self._waiting = 0

    async def decode(self, upload: UploadFile, max_side: int | None = None) -> Rgb:
        """The pixels of an uploaded picture; errors as `decode`, and UnavailableError when busy."""
        if upload.size is not None and upload.size > self._max_bytes:
            raise TooLargeError(f"The picture is larger than {self._max_bytes:,} bytes.")
        if self._waiting >= MAX_WAITING:
            raise UnavailableError("Too many pictures are waiting.", hint="Try again in a moment.")
        self._waiting += 1
        try:
            data = await upload.read()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._threads, decode, data, self._max_megapixels, max_side
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
