"""A video in parts that several workers look at, each part named by what comes out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from cluster.batch.sources import Source
from pipelines.domain import Frozen
from pipelines.domain.geometry import Polygon

# Whatever changes what a table of detections holds must change this, so that old ones go unused.
TABLE_FORMAT = "2"
FOREVER_US = 2**62
"""No end."""
# Cameras send a key frame each 1 to 4 s, "smart" codecs each 10 s, some never again.
_LONGEST_GROUP_US = 60_000_000


class Look(Frozen):
    """How pictures are looked at: what two looks must have in common to see the same.

    Attributes:
        tenant, camera: whose.
        fps: pictures to look at per second.
        masks: painted over before.
        weights: path or name of the model.
        sha256: of the weights.
        runtime, precision, input_size, confidence, iou: see DetectorSettings.
    """

    tenant: str
    camera: str
    fps: float
    masks: tuple[Polygon, ...] = ()
    weights: str
    sha256: str
    runtime: str
    precision: str
    input_size: tuple[int, int]
    confidence: float
    iou: float


class Chunk(Frozen):
    """A part of a source; its exact borders are key frames, see `video.pictures`.

    Attributes:
        from_us, to_us: times in the file, microseconds; None: its beginning, its end.
        look_from_us, look_to_us: pictures captured before, or from then on, are not looked at.
        share_us: how much of the job it is.
    """

    source: Source
    from_us: int | None
    to_us: int | None
    look_from_us: int
    look_to_us: int
    share_us: int

    def key(self, look: Look) -> str:
        """Under which its table of detections is stored: the same for the same pictures looked at
        in the same way, whichever job does it."""
        parts = (TABLE_FORMAT, self.model_dump_json(), look.model_dump_json(exclude={"weights"}))
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return f"detections/{look.camera}/{self.source.start_us}-{digest[:32]}.parquet"


def split(
    sources: Sequence[Source], chunk_us: int, look_from_us: int, look_to_us: int
) -> Iterator[Chunk]:
    """The chunks of all sources in the order of time, those that hold nothing to look at left out.

    Args:
        sources: in the order of their time.
        chunk_us: about as long is a chunk, microseconds.
        look_from_us: the first capture time to look at, UTC microseconds.
        look_to_us: the first one no longer to look at.
    """
    for source in sources:
        if source.start_us >= look_to_us:
            continue
        offset_us = source.start_us - source.zero_us
        length_us = source.end_us - source.start_us
        count = 1 if source.whole else max(1, round(length_us / chunk_us))
        borders = [offset_us + length_us * index // count for index in range(1, count)]
        for from_us, to_us in zip([None, *borders], [*borders, None], strict=True):
            start_us = source.start_us if from_us is None else source.zero_us + from_us
            end_us = source.end_us if to_us is None else source.zero_us + to_us
            # A chunk begins and ends at the key frame after its border, so one that seems to end
            # before may still reach in; the last one may be longer than its file said.
            if start_us >= look_to_us or end_us + _LONGEST_GROUP_US <= look_from_us:
                continue
            yield Chunk(
                source=source,
                from_us=from_us,
                to_us=to_us,
                # A limit that does not cut stays out, so that other jobs find the same table.
                look_from_us=look_from_us if look_from_us > start_us else 0,
                look_to_us=look_to_us if look_to_us < end_us + _LONGEST_GROUP_US else FOREVER_US,
                share_us=max(1, end_us - start_us),
            )
