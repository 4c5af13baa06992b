"""The second look: only the pictures that alarms and objects are shown by, as JPEG and crops."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.batch.remote import BrokenVideoError
from cluster.batch.video import ReadStats, frames_from, media_us, planes_of
from cluster.media.jpeg import to_jpeg
from pipelines.crops import CropBox
from pipelines.domain import Polygon
from pipelines.imaging import I420, cut_crop_i420
from pipelines.masking import MaskPainter

# Wanted pictures nearer than this are reached by decoding on; the next key frame behind a longer
# gap is mostly nearer than the last one before it.
SEEK_OVER_US = 4_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture of a file, whole or a part of it.

    Attributes:
        media_us: time in the file, microseconds.
        box: the part to cut; None: the whole, as JPEG.
    """

    media_us: int
    box: CropBox | None = None


Cut = bytes | npt.NDArray[np.uint8]
"""A JPEG, or RGB uint8 (height, width, 3)."""


def cut(url: str, wanted: Sequence[Wanted], masks: tuple[Polygon, ...], nice: int) -> list[Cut]:
    """What is wanted of one file, in the order in which it was asked for. Blocks; runs as a task.

    Raises:
        BrokenVideoError: the file, or one of the pictures, is not there any more.
    """
    os.nice(max(0, nice - os.getpriority(os.PRIO_PROCESS, 0)))
    by_time: dict[int, list[int]] = {}
    for index, want in enumerate(wanted):
        by_time.setdefault(want.media_us, []).append(index)
    results: dict[int, Cut] = {}
    for at_us, planes in _find(url, sorted(by_time), MaskPainter(masks)):
        for index in by_time[at_us]:
            box = wanted[index].box
            results[index] = to_jpeg(planes) if box is None else cut_crop_i420(planes, box)
    return [results[index] for index in range(len(wanted))]


def _find(url: str, times: list[int], painter: MaskPainter) -> Iterator[tuple[int, I420]]:
    """The pictures at the given times, rising."""
    position = 0
    while position < len(times):
        end = position + 1
        while end < len(times) and times[end] - times[end - 1] <= SEEK_OVER_US:
            end += 1
        yield from _run(url, times[position:end], painter)
        position = end


def _run(url: str, times: list[int], painter: MaskPainter) -> Iterator[tuple[int, I420]]:
    wanted = set(times)
    for frame in frames_from(url, times[0], ReadStats()):
        at_us = media_us(frame)
        if at_us in wanted:
            wanted.discard(at_us)
            yield at_us, planes_of(frame, painter)
        if not wanted:
            return
    raise BrokenVideoError(f"the picture at {min(wanted) / 1e6:.3f} s is not there any more.")
