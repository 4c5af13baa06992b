"""Extracts the frames that illustrate alarms and objects: JPEG snapshots and RGB crops."""

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

# Requested frames closer together than this are reached by decoding on. Across a longer gap a seek
# pays: cameras send a key frame every 1 to 4 s.
SEEK_GAP_US = 4_000_000


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """A frame of a file, or a crop of it.

    Attributes:
        media_us: time in the file, microseconds.
        box: the crop; None: the whole frame, as JPEG.
    """

    media_us: int
    box: CropBox | None = None


Extraction = bytes | npt.NDArray[np.uint8]
"""JPEG bytes, or a crop as RGB uint8 (height, width, 3)."""


def extract(
    url: str, requests: Sequence[ExtractRequest], masks: tuple[Polygon, ...], nice: int
) -> list[Extraction]:
    """Extract frames of one file, in request order. Blocks; runs as a Ray task.

    Args:
        url: as for `video.open_video`.
        masks: privacy masks to paint first.
        nice: niceness of the process while it works.

    Raises:
        BrokenVideoError: the file, or one of the frames, no longer exists.
        UnavailableError: the storage does not answer.
    """
    os.nice(max(0, nice - os.getpriority(os.PRIO_PROCESS, 0)))
    by_time: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        by_time.setdefault(request.media_us, []).append(index)
    results: dict[int, Extraction] = {}
    for at_us, planes in _frames_at(url, sorted(by_time), MaskPainter(masks)):
        for index in by_time[at_us]:
            box = requests[index].box
            results[index] = to_jpeg(planes) if box is None else cut_crop_i420(planes, box)
    return [results[index] for index in range(len(requests))]


def _frames_at(url: str, times: list[int], painter: MaskPainter) -> Iterator[tuple[int, I420]]:
    """The frames at the given times, which are ascending. Seeks across gaps."""
    position = 0
    while position < len(times):
        end = position + 1
        while end < len(times) and times[end] - times[end - 1] <= SEEK_GAP_US:
            end += 1
        yield from _decode_run(url, times[position:end], painter)
        position = end


def _decode_run(url: str, times: list[int], painter: MaskPainter) -> Iterator[tuple[int, I420]]:
    """The frames at the given times, decoded in one go from the key frame before the first."""
    missing = set(times)
    for frame in frames_from(url, times[0], ReadStats()):
        at_us = media_us(frame)
        if at_us in missing:
            missing.discard(at_us)
            yield at_us, planes_of(frame, painter)
        if not missing:
            return
    raise BrokenVideoError(f"the frame at {min(missing) / 1e6:.3f} s no longer exists.")
