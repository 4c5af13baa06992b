"""Pictures into what the model takes, and crops out of pictures. cv2 and numpy only.

Frames come from LiveKit as I420: full-size luma, chroma at half size. Colours are converted after
scaling down, at the size that the model sees: at 1080p that is a ninth of the pixels.
Conversion is BT.601, limited range, as libyuv (and so LiveKit itself) does it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.domain import Letterbox, LetterboxedFrame

Pixels = npt.NDArray[np.uint8]

# Grey of the border that YOLO models are trained with.
PAD = 114
# A crop of 200x400 pixels takes some 20 kB.
CROP_QUALITY = 85


@dataclass(frozen=True, slots=True)
class I420:
    """One picture in three planes; views, not copies.

    Attributes:
        y: uint8 (height, width).
        u: uint8 (ceil(height / 2), ceil(width / 2)).
        v: like `u`.
    """

    y: Pixels
    u: Pixels
    v: Pixels

    def __post_init__(self) -> None:
        height, width = self.y.shape
        expected = ((height + 1) // 2, (width + 1) // 2)
        if min(height, width) == 0 or self.u.shape != expected or self.v.shape != expected:
            raise ValueError(
                f"expected chroma {expected} for luma {self.y.shape}, "
                f"got {self.u.shape} and {self.v.shape}"
            )
        if any(plane.dtype != np.uint8 for plane in (self.y, self.u, self.v)):
            raise ValueError("expected uint8 planes")

    @property
    def size(self) -> tuple[int, int]:
        """Width, height."""
        return (self.y.shape[1], self.y.shape[0])

    @classmethod
    def from_buffer(cls, data: bytes | bytearray | memoryview, width: int, height: int) -> I420:
        """Views of a tightly packed buffer, as in `livekit.rtc.VideoFrame.data`.

        Raises:
            ValueError: the buffer does not have the length of such a picture.
        """
        half_width, half_height = (width + 1) // 2, (height + 1) // 2
        luma, chroma = width * height, half_width * half_height
        flat = np.frombuffer(data, dtype=np.uint8)
        if width <= 0 or height <= 0 or flat.size != luma + 2 * chroma:
            raise ValueError(
                f"expected {luma + 2 * chroma} bytes for I420 {width}x{height}, got {flat.size}"
            )
        return cls(
            flat[:luma].reshape(height, width),
            flat[luma : luma + chroma].reshape(half_height, half_width),
            flat[luma + chroma :].reshape(half_height, half_width),
        )


def letterbox_rgb(rgb: Pixels, input: tuple[int, int]) -> LetterboxedFrame:
    """Scale and centre an RGB picture (height, width, 3) into the `input` (width, height)."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"expected uint8 (height, width, 3), got {rgb.dtype} {rgb.shape}")
    letterbox = Letterbox.fit((rgb.shape[1], rgb.shape[0]), input)
    pixels, content = _padded_canvas(letterbox)
    _scale(rgb, content)
    return LetterboxedFrame(pixels, letterbox)


def letterbox_i420(planes: I420, input: tuple[int, int]) -> LetterboxedFrame:
    """Scale and centre an I420 picture into the `input` (width, height), as RGB."""
    letterbox = Letterbox.fit(planes.size, input)
    pixels, content = _padded_canvas(letterbox)
    _convert(planes, content)
    return LetterboxedFrame(pixels, letterbox)


def to_rgb(planes: I420) -> Pixels:
    """RGB (height, width, 3) of an I420 picture of any size, odd ones too."""
    width, height = planes.size
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    _convert(planes, rgb)
    return rgb


def cut_crop_i420(planes: I420, box: tuple[int, int, int, int]) -> Pixels:
    """RGB of one part of an I420 picture; only that part is converted.

    Args:
        planes: the picture.
        box: x1, y1, x2, y2 in whole pixels; x2 and y2 exclusive.

    Raises:
        ValueError: the box is empty or reaches out of the picture.
    """
    x1, y1, x2, y2 = _checked(box, planes.size)
    # From an even corner on, chroma and luma fit together.
    left, top = x1 - x1 % 2, y1 - y1 % 2
    part = I420(
        planes.y[top:y2, left:x2],
        planes.u[top // 2 : (y2 + 1) // 2, left // 2 : (x2 + 1) // 2],
        planes.v[top // 2 : (y2 + 1) // 2, left // 2 : (x2 + 1) // 2],
    )
    return np.ascontiguousarray(to_rgb(part)[y1 - top :, x1 - left :])


def cut_crop_rgb(rgb: Pixels, box: tuple[int, int, int, int]) -> Pixels:
    """A copy of one part of a picture (height, width, 3); see `cut_crop_i420`."""
    x1, y1, x2, y2 = _checked(box, (rgb.shape[1], rgb.shape[0]))
    return rgb[y1:y2, x1:x2].copy()


def crop_jpeg(rgb: Pixels, quality: int = CROP_QUALITY) -> bytes:
    """JPEG of an RGB picture (height, width, 3)."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"no JPEG can be made of {rgb.dtype} {rgb.shape}")
    return data.tobytes()


def _checked(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]):
        raise ValueError(f"the box {box} is not inside a picture of {size[0]}x{size[1]}")
    return box


def _padded_canvas(letterbox: Letterbox) -> tuple[Pixels, Pixels]:
    """A grey input, and the view of it where the picture goes."""
    width, height = letterbox.content
    left, top = letterbox.pad
    pixels = np.full((letterbox.input[1], letterbox.input[0], 3), PAD, dtype=np.uint8)
    return pixels, pixels[top : top + height, left : left + width]


def _scale(source: Pixels, target: Pixels) -> None:
    """Write `source` into `target` at its size."""
    if source.shape == target.shape:
        target[...] = source
    else:
        size = (target.shape[1], target.shape[0])
        cv2.resize(source, size, dst=target, interpolation=cv2.INTER_LINEAR)


def _convert(planes: I420, target: Pixels) -> None:
    """Write the picture into `target` (height, width, 3) as RGB, at its size.

    Written in place all the way: two buffers are allocated per frame instead of five.
    """
    height, width = target.shape[:2]
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    luma, chroma = 4 * half_height * half_width, half_height * half_width
    # cv2 takes the planes as one block of even size.
    flat = np.empty(luma + 2 * chroma, dtype=np.uint8)
    y = flat[:luma].reshape(2 * half_height, 2 * half_width)
    _scale(planes.y, y[:height, :width])
    _scale(planes.u, flat[luma : luma + chroma].reshape(half_height, half_width))
    _scale(planes.v, flat[luma + chroma :].reshape(half_height, half_width))
    block = flat.reshape(3 * half_height, 2 * half_width)
    if (height, width) == y.shape:
        cv2.cvtColor(block, cv2.COLOR_YUV2RGB_I420, dst=target)
        return
    # An odd picture's last row and column doubles for the conversion.
    y[height:, :width] = y[height - 1, :width]
    y[:, width:] = y[:, width - 1 : width]
    target[...] = cv2.cvtColor(block, cv2.COLOR_YUV2RGB_I420)[:height, :width]
