"""Splits videos into chunks for parallel workers. A chunk's key identifies its result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pydantic import ConfigDict, Field

from cluster.batch.sources import Source
from pipelines.attention import Rates
from pipelines.domain import Frozen
from pipelines.domain.geometry import Polygon

# Part of every chunk's key. Raise it when the contents of a detection table change, so that old
# tables are no longer used.
TABLE_FORMAT = "2"
FOREVER_US = 2**62
"""No upper limit."""
# The longest distance between key frames that `split` allows for. Cameras send a key frame every
# 1 to 4 s, "smart" codecs every 10 s, and some streams never send another one.
_LONGEST_GROUP_US = 60_000_000


class InferenceSpec(Frozen):
    """Everything that determines what inference finds in a frame.

    Attributes:
        tenant, camera: the camera that recorded the video.
        fps: frames to analyse per second.
        rates: the camera's, where its frames are analysed by what moves; None: evenly.
        masks: privacy masks, painted before inference.
        weights: path or name of the model.
        sha256: of the weights.
        runtime, precision, input_size, confidence, iou: see DetectorSettings.
    """

    tenant: str
    camera: str
    fps: float
    rates: Rates | None = None
    masks: tuple[Polygon, ...] = ()
    weights: str
    sha256: str
    runtime: str
    precision: str
    input_size: tuple[int, int]
    confidence: float
    iou: float


class Chunk(Frozen):
    """Part of a source. Its exact borders are key frames, see `video.chunk_frames`.

    Attributes:
        from_us, to_us: times in the file, microseconds; None: start or end of the file.
        infer_from_us: frames captured earlier are not analysed, UTC microseconds.
        infer_to_us: frames captured at or after this time are not analysed, UTC microseconds.
        share_us: its share of the job, microseconds of video.
    """

    # The JSON form is part of `key`. The aliases keep it, so that stored tables stay valid.
    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    source: Source
    from_us: int | None
    to_us: int | None
    infer_from_us: int = Field(alias="look_from_us")
    infer_to_us: int = Field(alias="look_to_us")
    share_us: int

    def key(self, spec: InferenceSpec) -> str:
        """Blob key of the chunk's detection table. The same frames and the same spec give the same
        key in every job."""
        # Left out where there are none, so that tables of even rates stay valid.
        absent = {"weights"} if spec.rates else {"weights", "rates"}
        parts = (TABLE_FORMAT, self.model_dump_json(), spec.model_dump_json(exclude=absent))
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return f"detections/{spec.camera}/{self.source.start_us}-{digest[:32]}.parquet"


def split(
    sources: Sequence[Source], chunk_us: int, infer_from_us: int, infer_to_us: int
) -> Iterator[Chunk]:
    """Chunks of all sources in time order. Chunks without a frame to analyse are left out.

    Args:
        sources: in time order.
        chunk_us: approximate length of a chunk, microseconds.
        infer_from_us: first capture time to analyse, UTC microseconds.
        infer_to_us: first capture time not to analyse, UTC microseconds.
    """
    for source in sources:
        if source.start_us >= infer_to_us:
            continue
        offset_us = source.start_us - source.zero_us
        length_us = source.end_us - source.start_us
        count = 1 if source.whole else max(1, round(length_us / chunk_us))
        borders = [offset_us + length_us * index // count for index in range(1, count)]
        for from_us, to_us in zip([None, *borders], [*borders, None], strict=True):
            start_us = source.start_us if from_us is None else source.zero_us + from_us
            end_us = source.end_us if to_us is None else source.zero_us + to_us
            # A chunk starts and ends at the key frame after its border. So a chunk that nominally
            # ends before the range may reach into it, and the last one may be longer than its file
            # says.
            if start_us >= infer_to_us or end_us + _LONGEST_GROUP_US <= infer_from_us:
                continue
            yield Chunk(
                source=source,
                from_us=from_us,
                to_us=to_us,
                # A limit outside the chunk is left out of its key, so that other jobs reuse the
                # table.
                infer_from_us=infer_from_us if infer_from_us > start_us else 0,
                infer_to_us=infer_to_us if infer_to_us < end_us + _LONGEST_GROUP_US else FOREVER_US,
                share_us=max(1, end_us - start_us),
            )
