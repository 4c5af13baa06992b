"""Pictures that strangers send: from bytes to RGB, or to an error with the reason.

What a picture costs is known from its header before anything is decoded (`picture_header`,
`picture_cost`). Decoding runs in threads of its own, waits for its share of the memory that all
pictures have together, and both the threads and the pictures that wait are bounded.

Pixels go from the decoder's picture into the result in bands, so what palettes, 16 bits and
transparency need on the way is a few megabytes, however large the picture is. JPEGs are not decoded
at a reduced size: it would change boxes, and the budget holds without. They are decoded by Pillow,
not by simplejpeg, which knows only all or nothing of damaged files: of 400, Pillow refused the 103
that were cut off; simplejpeg refused 298, or none.
"""

from __future__ import annotations

import asyncio
import ctypes
import io
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile

from pipelines.errors import InputError, UnavailableError
from serve.api.memory_budget import MemoryBudget
from serve.api.picture_cost import check_time, memory_needed
from serve.api.picture_header import (
    PictureFormat,
    PictureHeader,
    broken,
    not_read_here,
    read_header,
)
from serve.api.problems import TooLargeError
from serve.api.slots import Slots

DECODER_THREADS = 2

# At 0.2 s for a large picture, the last one in the queue waits about 2 s.
MAX_WAITING = 16
# A tenant that sends more than is decoded leaves half of the queue to the others.
MAX_WAITING_PER_TENANT = MAX_WAITING // 2

# A band of rows on its way to RGB: with all its intermediate forms some 5 MB. Larger ones are not
# faster (40 megapixels with a palette: 0.35 s at 2^16 to 2^20).
BAND_PIXELS = 2**18

# Transparent pixels show this: the gray of the letterbox border, which the model ignores.
BACKGROUND = 114

# Pictures that took more are followed by a `malloc_trim`. glibc keeps freed blocks of less than
# 32 MB per thread, and Pillow's are 16 MB: what one thread had freed was still there while the
# other one decoded, 157 MB of a picture of 165 MB. Trimming takes some milliseconds.
TRIM_ABOVE_BYTES = 32_000_000

# The longest that stopping waits for a picture in hand; the slowest that is accepted takes less.
CLOSE_TIMEOUT_S = 10.0

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where the first upright rows are the last rows, or the last columns, of the stored picture.
_FROM_THE_END = (3, 4, 7, 8)

# What Pillow and OpenCV raise on broken files, by their documentation and by fuzzing (see the
# tests).
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    TypeError,
    KeyError,
    IndexError,
    cv2.error,
)

Rgb = npt.NDArray[np.uint8]
_Box = tuple[int, int, int, int]
_Tile = Callable[[_Box], Image.Image]
_T = TypeVar("_T")


def checked_header(data: bytes, max_megapixels: float) -> PictureHeader:
    """The header of a picture that may be decoded, as far as the header shows.

    Raises:
        InputError, MediaTypeError, TooLargeError: as `decode`.
    """
    header = read_header(data)
    if header.width * header.height > max_megapixels * 1_000_000:
        raise TooLargeError(
            f"The picture has more than {max_megapixels:g} megapixels.",
            hint="Scale it down first.",
        )
    check_time(header, len(data))
    return header


def decode(data: bytes, max_megapixels: float, max_side: int | None = None) -> Rgb:
    """RGB pixels, uint8 (height, width, 3), turned by the EXIF orientation.

    Of an animation it is the first frame. Peak memory is at most
    `picture_cost.memory_needed` of the header.

    Args:
        max_side: scale a larger picture down so that neither side is longer.

    Raises:
        InputError: no bytes, or a picture that is broken or cut off.
        MediaTypeError: not a JPEG, PNG, WebP or BMP.
        TooLargeError: more pixels than `max_megapixels`, or a file that takes a decoder too long;
            nothing was decoded.
    """
    header = checked_header(data, max_megapixels)
    try:
        tile = _webp_tiles(header, data) if header.format is PictureFormat.WEBP else None
        tile = tile or _pillow_tiles(header, data)
        if max_side is None or max(header.upright) <= max_side:
            return _whole(header, tile)
        return _shrunk(header, tile, max_side)
    # Pillow warns of what is half as large; where warnings are errors, it raises the same.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLargeError(
            "The picture has more pixels than can be decoded.", hint="Scale it down first."
        ) from None
    # ImportError: where ultralytics is loaded too, it replaces Pillow's `open` by one that wants
    # another package for whatever Pillow cannot identify.
    except (UnidentifiedImageError, ImportError):
        raise not_read_here() from None
    except _BROKEN as error:
        raise broken() from error


def _essence(header: PictureHeader, data: bytes) -> bytes:
    """Of the file only what pixels need; no copy where that is all of it."""
    if header.parts == ((0, len(data)),):
        return data
    view = memoryview(data)
    return b"".join(view[start:end] for start, end in header.parts)


def _pillow_tiles(header: PictureHeader, data: bytes) -> _Tile:
    image = Image.open(io.BytesIO(_essence(header, data)), formats=(header.format,))
    if image.size != (header.width, header.height):
        # What was counted is not what would be decoded.
        raise broken()
    image.load()
    return lambda box: _flat(image.crop(box))


def _webp_tiles(header: PictureHeader, data: bytes) -> _Tile:
    """By OpenCV, from a file of the first frame alone: Pillow decodes every WebP as an animation,
    which takes 16 to 20 bytes per pixel and holds the interpreter's lock."""
    pixels = _webp_frame(header, _essence(header, data))
    if header.offset is not None and header.frame != (header.width, header.height):
        canvas = np.zeros((header.height, header.width, 4), np.uint8)
        left, top = header.offset
        part = canvas[top : top + header.frame[1], left : left + header.frame[0]]
        part[..., : pixels.shape[2]] = pixels
        if pixels.shape[2] == 3:
            part[..., 3] = 255
        pixels = canvas
    if pixels.shape[2] == 3:
        order = cv2.COLOR_BGR2RGB
    else:
        order = cv2.COLOR_BGRA2RGBA if header.alpha else cv2.COLOR_BGRA2RGB

    def tile(box: _Box) -> Image.Image:
        left, top, right, bottom = box
        return _flat(Image.fromarray(cv2.cvtColor(pixels[top:bottom, left:right], order)))

    return tile


def _webp_frame(header: PictureHeader, chunks: bytes) -> npt.NDArray[np.uint8]:
    """BGR or BGRA, uint8 (height, width, 3 or 4), of the chunks of one frame."""
    width, height = header.frame
    if chunks[:4] == b"ALPH":
        extended = struct.pack("<4sIB3x", b"VP8X", 10, 0x10)
        chunks = (
            extended
            + (width - 1).to_bytes(3, "little")
            + (height - 1).to_bytes(3, "little")
            + chunks
        )
    file = b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if (
        pixels is None
        or pixels.dtype != np.uint8
        or pixels.shape != (height, width, header.channels)
    ):
        raise broken()
    return np.asarray(pixels, np.uint8)


def _flat(image: Image.Image) -> Image.Image:
    """RGB of a small picture of any mode."""
    if image.mode.startswith("I"):
        # 16 bits per pixel; Pillow's own conversion would clip instead of scaling.
        gray = (np.asarray(image).clip(0, 65_535) >> 8).astype(np.uint8)
        return Image.fromarray(gray).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _bands(header: PictureHeader, tile: _Tile) -> Iterator[tuple[int, Image.Image]]:
    """The upright picture from top to bottom: the first row of each band, and the band as RGB."""
    width, height = header.upright
    rows = max(1, BAND_PIXELS // width)
    turn = _TURNS.get(header.orientation)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        start, stop = top, bottom
        if header.orientation in _FROM_THE_END:
            start, stop = height - bottom, height - top
        columns = header.orientation >= 5
        box = (start, 0, stop, header.height) if columns else (0, start, header.width, stop)
        band = tile(box)
        yield top, band if turn is None else band.transpose(turn)


def _whole(header: PictureHeader, tile: _Tile) -> Rgb:
    width, height = header.upright
    pixels = np.empty((height, width, 3), np.uint8)
    for top, band in _bands(header, tile):
        pixels[top : top + band.height] = np.asarray(band)
    return pixels


def _shrunk(header: PictureHeader, tile: _Tile, max_side: int) -> Rgb:
    """Scaled down by areas, as Pillow does it at once: first across, then down."""
    width, height = header.upright
    scale = max_side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    narrow = Image.new("RGB", (size[0], height))
    for top, band in _bands(header, tile):
        narrow.paste(band.resize((size[0], band.height), Image.Resampling.BOX), (0, top))
    return np.array(narrow.resize(size, Image.Resampling.BOX))


# Only glibc has it, and only glibc needs it.
_malloc_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)


def _outcome(step: Callable[[], _T]) -> _T | InputError:
    """What `step` returns or the InputError that it raises, rid of the frames that it came through:
    they hold pictures, and outlive the thread's work with the error."""
    try:
        return step()
    except InputError as error:
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error


def _outcome_trimmed(step: Callable[[], _T]) -> _T | InputError:
    """As `_outcome`; what the allocator kept is the system's again before anybody else decodes."""
    found = _outcome(step)
    if _malloc_trim is not None:
        _malloc_trim(0)
    return found


class ImageDecoder:
    """Decodes uploads off the event loop. Owned by the application, which closes it.

    Args:
        max_bytes: of one file.
        max_megapixels: of one picture.
        memory_bytes: what all pictures in hand may take together, by `memory_needed`. What is not
            counted in it: the files that threads read headers of, one per thread.
    """

    def __init__(self, max_bytes: int, max_megapixels: float, memory_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_megapixels = max_megapixels
        self._budget = MemoryBudget(memory_bytes)
        self._threads = ThreadPoolExecutor(DECODER_THREADS, thread_name_prefix="decode")
        self._running: set[Future[Any]] = set()
        self._waiting = Slots(MAX_WAITING, MAX_WAITING_PER_TENANT)

    @property
    def waiting(self) -> int:
        """Uploads that are in hand or wait."""
        return self._waiting.taken

    @property
    def reserved_bytes(self) -> int:
        """What the pictures in hand may take, by their headers."""
        return self._budget.total - self._budget.free

    async def decode(
        self,
        upload: UploadFile,
        prepare: Callable[[Rgb], _T],
        max_side: int | None = None,
        *,
        tenant: str,
    ) -> _T:
        """What `prepare` makes of the pixels of an uploaded picture, in the thread that decoded it.

        A call that is cancelled gives back its place at once, and its memory as soon as the thread
        is through with the picture.

        Args:
            prepare: pure; its result should be small, for it is not in the budget.
            max_side: as of the function `decode`.
            tenant: whose upload it is.

        Raises:
            InputError, MediaTypeError, TooLargeError: as `decode`, and TooLargeError for a picture
                that takes more memory than all may have together.
            UnavailableError: too many pictures are waiting, of all or of the tenant, or the
                application is stopping.
        """
        if upload.size is not None and upload.size > self._max_bytes:
            raise TooLargeError(f"The picture is larger than {self._max_bytes:,} bytes.")
        if not self._waiting.has_room(tenant):
            raise UnavailableError("Too many pictures are waiting.", hint="Try again in a moment.")
        with self._waiting.hold(tenant):
            file = upload.file
            needed = await self._in_thread(lambda: self._needed(file, max_side))
            await self._budget.acquire(needed)
            return await self._in_thread(
                lambda: prepare(decode(_read(file), self._max_megapixels, max_side)), needed
            )

    def _needed(self, file: BinaryIO, max_side: int | None) -> int:
        data = _read(file)
        needed = memory_needed(checked_header(data, self._max_megapixels), len(data), max_side)
        if needed > self._budget.total:
            raise TooLargeError(
                f"Decoding the picture would take {needed // 1_000_000:,} MB, and at most "
                f"{self._budget.total // 1_000_000:,} MB are there for it.",
                hint="Scale it down, or save it as a JPEG that is not progressive.",
            )
        return needed

    async def _in_thread(self, step: Callable[[], _T], reserved: int = 0) -> _T:
        """Run `step` in a thread; `reserved` bytes go back when the thread is through with it."""
        loop = asyncio.get_running_loop()
        run = _outcome_trimmed if reserved > TRIM_ABOVE_BYTES else _outcome
        try:
            future: Future[_T | InputError] = self._threads.submit(run, step)
        except RuntimeError:
            self._budget.release(reserved)
            raise _stopping() from None
        self._running.add(future)

        def ended(_: Future[Any]) -> None:
            loop.call_soon_threadsafe(self._budget.release, reserved)
            loop.call_soon_threadsafe(self._running.discard, future)

        future.add_done_callback(ended)
        try:
            found = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if future.cancelled() and task is not None and not task.cancelling():
                # Nobody cancelled the request: `aclose` cancelled the work that waited.
                raise _stopping() from None
            raise
        if isinstance(found, InputError):
            raise found
        return found

    async def aclose(self) -> None:
        """Refuse new pictures, drop those that wait, and wait for those in hand. Idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        running = [asyncio.wrap_future(item) for item in self._running]
        if running:
            await asyncio.wait(running, timeout=CLOSE_TIMEOUT_S)


def _stopping() -> UnavailableError:
    return UnavailableError("The API is stopping.", hint="Try again in a moment.")


def _read(file: BinaryIO) -> bytes:
    """The whole upload; what is larger than a megabyte lies on disk until now."""
    file.seek(0)
    return file.read()
