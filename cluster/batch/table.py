"""Detections of one chunk as a Parquet file, to resume jobs from and for analysis.

One row per detection. A frame without detections has one row without a label, so the file also
lists the frames that were analysed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.domain import Detections

_META = b"atalaia"
SCHEMA = pa.schema(
    [
        ("capture_us", pa.int64()),
        ("media_us", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        ("confidence", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
    ]
)
"""Times are microseconds: `capture_us` in UTC, `media_us` within the file. Boxes are in source
pixels."""


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """The detections in one analysed frame.

    Attributes:
        capture_us: UTC microseconds.
        media_us: time in the file, microseconds.
        size: width, height in source pixels.
        detections: in source pixels.
    """

    capture_us: int
    media_us: int
    size: tuple[int, int]
    detections: Detections


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """Statistics of one chunk. The names are part of the file format.

    Attributes:
        decoded, looked: frames decoded, frames analysed.
        last_us: capture time of the last frame, analysed or not, UTC microseconds; 0 if none.
        corrupt: packets that could not be decoded.
        core_s: CPU seconds.
        problem: why the chunk ends early; empty if it does not.
    """

    decoded: int = 0
    looked: int = 0
    last_us: int = 0
    corrupt: int = 0
    core_s: float = 0.0
    problem: str = ""


def encode(frames: Iterable[FrameDetections], facts: ChunkFacts) -> bytes:
    """The Parquet file of a chunk."""
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for frame in frames:
        found = frame.detections
        count = max(1, len(found))
        boxes = found.xyxy if len(found) else np.full((1, 4), np.nan, np.float32)
        columns["capture_us"] += [frame.capture_us] * count
        columns["media_us"] += [frame.media_us] * count
        columns["width"] += [frame.size[0]] * count
        columns["height"] += [frame.size[1]] * count
        columns["label"] += found.labels or (None,)
        columns["confidence"] += found.confidence.tolist() or [None]
        for index, name in enumerate(("x1", "y1", "x2", "y2")):
            columns[name] += boxes[:, index].tolist() if len(found) else [None]
    meta = {_META: json.dumps({name: getattr(facts, name) for name in facts.__slots__}).encode()}
    table = pa.table(columns, schema=SCHEMA.with_metadata(meta))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def read_facts(data: bytes) -> ChunkFacts:
    """The statistics in a file of `encode`. Raises ValueError for any other file."""
    try:
        meta = pq.read_schema(io.BytesIO(data)).metadata or {}
        return ChunkFacts(**json.loads(meta[_META]))
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"not a detection table: {error}") from error


def decode(data: bytes) -> Iterator[FrameDetections]:
    """The frames of a file of `encode`, in order. Raises ValueError for any other file."""
    table = pq.read_table(io.BytesIO(data))
    columns = {name: table.column(name) for name in SCHEMA.names}
    capture = columns["capture_us"].to_numpy()
    numbers = {
        name: columns[name].to_numpy() for name in ("media_us", "width", "height", "confidence")
    }
    labels = columns["label"].to_pylist()
    boxes = np.stack([columns[name].to_numpy() for name in ("x1", "y1", "x2", "y2")], axis=1)
    # Rows of one frame are adjacent, and no two frames have the same time.
    starts = np.flatnonzero(np.diff(capture, prepend=capture[:1] - 1)).tolist()
    for start, end in pairwise([*starts, len(capture)]):
        has_detections = labels[start] is not None
        yield FrameDetections(
            capture_us=int(capture[start]),
            media_us=int(numbers["media_us"][start]),
            size=(int(numbers["width"][start]), int(numbers["height"][start])),
            detections=Detections(
                boxes[start:end].astype(np.float32),
                numbers["confidence"][start:end].astype(np.float32),
                tuple(labels[start:end]),
            )
            if has_detections
            else Detections.empty(),
        )
