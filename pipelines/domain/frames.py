"""Frames, detections and tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.domain.base import PixelBox


@dataclass(frozen=True, slots=True)
class FrameStamp:
    """Identity of one frame: its capture time, number, and size in source pixels."""

    capture_us: int
    frame_id: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Mapping between a source frame and the model's input, scaled and centred.

    Attributes:
        source: width, height in source pixels.
        input: width, height in input pixels.
        scale: input pixels per source pixel, the same on both axes.
        pad: left and top padding in input pixels.
    """

    source: tuple[int, int]
    input: tuple[int, int]
    scale: float
    pad: tuple[int, int]

    @classmethod
    def fit(cls, source: tuple[int, int], input: tuple[int, int]) -> Letterbox:
        """The largest centred placement of `source` in `input` that keeps the aspect ratio.

        Raises:
            ValueError: a size is not positive.
        """
        if min(source) <= 0 or min(input) <= 0:
            raise ValueError(f"sizes must be positive: {source=} {input=}")
        scale = min(input[0] / source[0], input[1] / source[1])
        width, height = round(source[0] * scale), round(source[1] * scale)
        return cls(source, input, scale, ((input[0] - width) // 2, (input[1] - height) // 2))

    @property
    def content(self) -> tuple[int, int]:
        """Width and height of the scaled frame without padding, at least 1x1."""
        return (
            max(1, round(self.source[0] * self.scale)),
            max(1, round(self.source[1] * self.scale)),
        )

    def to_source(self, xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Convert boxes, float32 (n, 4), from input to source pixels, clipped to the frame."""
        pad = np.array([self.pad[0], self.pad[1]] * 2, dtype=np.float32)
        limit = np.array(self.source * 2, dtype=np.float32)
        boxes = (np.asarray(xyxy, dtype=np.float32).reshape(-1, 4) - pad) / np.float32(self.scale)
        clipped: npt.NDArray[np.float32] = np.clip(boxes, 0, limit).astype(np.float32)
        return clipped


@dataclass(frozen=True, slots=True)
class LetterboxedFrame:
    """Input of a detector: one frame at the model's input size.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, padding filled with 114.
        letterbox: maps boxes back to source pixels.

    Raises:
        ValueError: `pixels` does not have the input size, or is not uint8.
    """

    pixels: npt.NDArray[np.uint8]
    letterbox: Letterbox

    def __post_init__(self) -> None:
        expected = (self.letterbox.input[1], self.letterbox.input[0], 3)
        if self.pixels.shape != expected or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 {expected}, got {self.pixels.dtype} {self.pixels.shape}"
            )


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections in one frame; n rows.

    Attributes:
        xyxy: float32 (n, 4), source pixels.
        confidence: float32 (n,), 0..1.
        labels: n class names.

    Raises:
        ValueError: the shapes do not match.
    """

    xyxy: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.labels)
        if self.xyxy.shape != (n, 4) or self.confidence.shape != (n,):
            raise ValueError(
                f"expected xyxy ({n}, 4) and confidence ({n},), "
                f"got {self.xyxy.shape} and {self.confidence.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed over time, as of the current frame.

    Attributes:
        key: derived from the first detection (capture time, class, position), never a counter.
        box: source pixels of the current frame.
        age: frames in which it was detected so far, this one included.
    """

    key: str
    label: str
    confidence: float
    box: PixelBox
    first_seen_us: int
    last_seen_us: int
    age: int
