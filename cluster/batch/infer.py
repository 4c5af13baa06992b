"""The worker: decodes its chunks and detects in the pictures that are due, both at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cluster.batch import table
from cluster.batch.chunks import Chunk, Look
from cluster.batch.detectors import Eyes, open_eyes
from cluster.batch.remote import BrokenVideoError
from cluster.batch.request import DetectorChoice
from cluster.batch.table import ChunkFacts, Looked
from cluster.batch.video import ReadStats, media_us, pictures, planes_of
from cluster.core.log import configure_logging, get_logger, redact
from cluster.core.settings import Settings
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.domain import CameraKey, Detections, LetterboxedFrame
from pipelines.errors import AtalaiaError, UnavailableError, UnknownThingError
from pipelines.imaging import letterbox_i420
from pipelines.masking import MaskPainter
from pipelines.sampling import FrameSampler, grid_phase

log = get_logger("batch.look")

Row = dict[str, Any]
"""What flows through Ray Data: `chunk` in, JSON of a Chunk; `table` out, a Parquet file."""


class Looker:
    """Looks at one chunk after the other; Ray Data makes one per worker.

    Args:
        settings: the whole tree.
        look: how pictures are looked at.
        detector: `own` or `shared`.
        keep: whether tables are stored, and taken from where they were stored before.
    """

    def __init__(
        self, settings: Settings, look: Look, detector: DetectorChoice, keep: bool
    ) -> None:
        configure_logging(settings.log)
        # Live work goes first wherever both want the same core. Threads inherit it, so before any.
        os.nice(settings.batch.nice)
        self._settings = settings
        self._look = look
        self._detector = detector
        self._keep = keep
        self._eyes: Eyes | None = None

    def __call__(self, row: Row) -> Row:
        """Raises AtalaiaError alone: others reach the driver without a word of theirs."""
        try:
            return self._row(row)
        except AtalaiaError:
            raise
        except Exception as error:
            log.exception("a chunk cannot be looked at")
            reason = redact(f"{type(error).__name__}: {error}").partition("\n")[0]
            raise UnavailableError(
                f"a worker failed: {reason[:300]}",
                hint="Start the job again: what was done is not done again.",
            ) from error

    def _row(self, row: Row) -> Row:
        chunk = Chunk.model_validate_json(row["chunk"])
        key = chunk.key(self._look)
        data = asyncio.run(self._stored(key)) if self._keep else None
        reused = data is not None
        if data is None:
            data = self._looked_at(chunk)
            if self._keep:
                asyncio.run(self._store(key, data))
        return {"table": data, "reused": reused}

    def _looked_at(self, chunk: Chunk) -> bytes:
        if self._eyes is None:
            # Not before: a job that finds every table done needs no model.
            self._eyes = open_eyes(self._detector, self._look, self._settings)
        began_s, stats = time.process_time(), ReadStats()
        looked: list[Looked] = []
        problem = ""
        try:
            looked += look_at(chunk, self._look, self._eyes, stats)
        except BrokenVideoError as error:
            problem = error.message
        facts = ChunkFacts(
            decoded=stats.pictures,
            looked=len(looked),
            last_us=0 if stats.last_us is None else chunk.source.zero_us + stats.last_us,
            corrupt=stats.corrupt,
            core_s=time.process_time() - began_s,
            problem=problem or stats.cut_short,
        )
        return table.encode(looked, facts)

    async def _stored(self, key: str) -> bytes | None:
        async with TenantBlobs(self._settings.blob_url, self._look.tenant) as blobs:
            try:
                data = await blobs.get(key)
                table.read_facts(data)
            except UnknownThingError:
                return None
            except ValueError as error:
                log.warning("a stored table is done again", key=key, reason=str(error))
                return None
            return data

    async def _store(self, key: str, data: bytes) -> None:
        async with TenantBlobs(self._settings.blob_url, self._look.tenant) as blobs:
            await blobs.put(key, data)


def look_at(chunk: Chunk, look: Look, eyes: Eyes, stats: ReadStats) -> Iterator[Looked]:
    """The pictures of the chunk that the live path looks at, in order, with what is in them.

    While `eyes` look, the next pictures are decoded; at most `calls + 1` groups are held.

    Raises:
        BrokenVideoError: the file cannot be opened.
    """
    waiting: deque[tuple[list[Looked], Future[list[Detections]]]] = deque()
    with ThreadPoolExecutor(eyes.calls, thread_name_prefix="look") as threads:
        for group in _groups(due_frames(chunk, look, stats), eyes.group):
            frames = [frame for _, frame in group]
            waiting.append(([seen for seen, _ in group], threads.submit(eyes.look, frames)))
            if len(waiting) > eyes.calls:
                yield from _result(*waiting.popleft())
        while waiting:
            yield from _result(*waiting.popleft())


def _result(group: list[Looked], result: Future[list[Detections]]) -> Iterator[Looked]:
    for seen, detections in zip(group, result.result(), strict=True):
        yield Looked(seen.capture_us, seen.media_us, seen.size, detections)


def due_frames(
    chunk: Chunk, look: Look, stats: ReadStats
) -> Iterator[tuple[Looked, LetterboxedFrame]]:
    """Pictures that are to be looked at, not looked at yet, on the same grid as the live path."""
    sampler = FrameSampler(look.fps, grid_phase(CameraKey(look.tenant, look.camera)))
    painter = MaskPainter(look.masks)
    zero_us, first = chunk.source.zero_us, True
    for before_us, frame in pictures(chunk.source.url, chunk.from_us, chunk.to_us, stats):
        if first and before_us is not None:
            # All that the sampler has to know of what came before is the last picture.
            sampler.offer(zero_us + before_us)
            sampler.done()
        first = False
        at_us = media_us(frame)
        capture_us = zero_us + at_us
        if capture_us >= chunk.look_to_us:
            return
        due = sampler.offer(capture_us)
        sampler.done()
        if due and capture_us >= chunk.look_from_us:
            planes = planes_of(frame, painter)
            picture = Looked(capture_us, at_us, planes.size, Detections.empty())
            yield picture, letterbox_i420(planes, look.input_size)


def _groups(
    frames: Iterator[tuple[Looked, LetterboxedFrame]], size: int
) -> Iterator[list[tuple[Looked, LetterboxedFrame]]]:
    group: list[tuple[Looked, LetterboxedFrame]] = []
    for frame in frames:
        group.append(frame)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
