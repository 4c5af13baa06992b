"""A drawn scene with one person in it, whose place in each picture is known exactly: for tests of
what hides persons."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from cluster.recording.segment import VideoUnit
from pipelines.domain import PATH_CELL_US, PATH_SCALE, TrackPath
from tests.factories import make_path
from tests.recorded import encoded, picture_us

SIZE = (192, 144)
BODY = (24, 56)
EVERY = 5
"""Pictures between two that are analysed: five a second."""
TRACK = "walker"

Luma = npt.NDArray[np.uint8]
PixelBox = tuple[int, int, int, int]


def place(n: int) -> PixelBox:
    """Where the person is in picture `n`: walks to the right, half a pixel per picture."""
    x = 16 + (n // 2) % 144
    return (x, 60, x + BODY[0], 60 + BODY[1])


def scene(n: int) -> Luma:
    """Luma of picture `n`: a slope of grey, and a chequered person. uint8 (height, width)."""
    ys, xs = np.mgrid[: SIZE[1], : SIZE[0]]
    grey: Luma = (60 + xs // 2 + ys // 2).astype(np.uint8)
    x1, y1, x2, y2 = place(n)
    grey[y1:y2, x1:x2] = (((xs - x1) // 4 + (ys - y1) // 4) % 2 * 200 + 25)[y1:y2, x1:x2]
    return grey


def walk_units(frames: int, start_us: int) -> list[VideoUnit]:
    """The pictures as a camera sends them."""
    pictures = [
        av.VideoFrame.from_ndarray(scene(n), "gray").reformat(format="yuv420p")
        for n in range(frames)
    ]
    return encoded(pictures, start_us, encoder="libx264", b_frames=0)


def walk_paths(frames: int, start_us: int, tenant: str = "acme", **fields: Any) -> list[TrackPath]:
    """What the pipeline keeps of the walk: boxes of every fifth picture, by cells of time."""
    times = [(picture_us(start_us, n) // 1_000 * 1_000, n) for n in range(0, frames, EVERY)]
    paths = []
    for cell, part in groupby(times, key=lambda item: item[0] // PATH_CELL_US):
        seen = list(part)
        cell_us = cell * PATH_CELL_US
        points = tuple(((at_us - cell_us) // 1_000, *_scaled(place(n))) for at_us, n in seen)
        paths.append(
            make_path(
                tenant=tenant,
                start_us=cell_us,
                end_us=seen[-1][0],
                points=points,
                **{"track": TRACK} | fields,
            )
        )
    return paths


def normalized(box: PixelBox) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (value / side for value, side in zip(box, SIZE * 2, strict=True))
    return (x1, y1, x2, y2)


def _scaled(box: PixelBox) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(value * PATH_SCALE) for value in normalized(box))
    return (x1, y1, x2, y2)


def looks_like(luma: Luma, box: PixelBox) -> float:
    """How much of a chequered person a box of a picture still shows: 1 all of it, 0 nothing. The
    contrast between neighbouring squares of the pattern."""
    x1, y1, x2, y2 = box
    part = luma[y1:y2, x1:x2].astype(float)
    ys, xs = np.mgrid[: part.shape[0], : part.shape[1]]
    bright = (xs // 4 + ys // 4) % 2 == 1
    return float((part[bright].mean() - part[~bright].mean()) / 200)


def apart(one: Luma, other: Luma) -> npt.NDArray[np.int_]:
    """Difference of each pixel."""
    difference: npt.NDArray[np.int_] = np.abs(one.astype(int) - other.astype(int))
    return difference


def lumas(path: Path) -> list[Luma]:
    """Luma of every picture of a video, from 0 to 255."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return [np.asarray(frame, np.uint8) for frame in frames]


def outside(n: int, by: int) -> npt.NDArray[np.bool_]:
    """Pixels of picture `n` farther than `by` from the person, bool (height, width)."""
    x1, y1, x2, y2 = place(n)
    mask = np.ones((SIZE[1], SIZE[0]), bool)
    mask[max(0, y1 - by) : y2 + by, max(0, x1 - by) : x2 + by] = False
    return mask
