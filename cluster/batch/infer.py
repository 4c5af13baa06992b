"""The inference worker: decodes its chunks and detects objects in the due frames, in parallel."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
from av.video.frame import VideoFrame

from cluster.batch import table
from cluster.batch.chunks import Chunk, InferenceSpec
from cluster.batch.detectors import BatchDetector, open_detector
from cluster.batch.pace import Pace
from cluster.batch.remote import BrokenVideoError
from cluster.batch.request import DetectorChoice
from cluster.batch.table import ChunkFacts, FrameDetections
from cluster.batch.video import ReadStats, chunk_frames, media_us, planes_of
from cluster.core.log import configure_logging, get_logger, redact
from cluster.core.settings import Settings
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.attention import LAG_US, AttentiveSampler, Rates, Urgency
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey, Detections, LetterboxedFrame
from pipelines.errors import AtalaiaError, NotFoundError, UnavailableError
from pipelines.imaging import letterbox_i420
from pipelines.masking import MaskPainter
from pipelines.movement import Luma, small_luma
from pipelines.sampling import FrameSampler, grid_phase

log = get_logger("batch.look")

Row = dict[str, Any]
"""A row of the Ray dataset. In: `chunk`, a Chunk as JSON. Out: `table`, a Parquet file, and
`reused`, whether an earlier job made it."""


class InferenceWorker:
    """Processes one chunk after the other. Ray Data creates one instance per worker.

    Args:
        settings: all settings.
        spec: what to run on each frame.
        detector: `own` or `shared`.
        keep: whether to store tables, and to reuse stored ones.
        frames_per_s: how many it may analyse at most.
    """

    def __init__(
        self,
        settings: Settings,
        spec: InferenceSpec,
        detector: DetectorChoice,
        keep: bool,
        frames_per_s: float,
    ) -> None:
        configure_logging(settings.log)
        # Live work takes priority on a shared core. Threads inherit the niceness, so it comes
        # before any thread starts.
        os.nice(settings.batch.nice)
        self._settings = settings
        self._spec = spec
        self._choice = detector
        self._keep = keep
        self._pace = Pace(frames_per_s, SystemClock())
        self._detector: BatchDetector | None = None

    def __call__(self, row: Row) -> Row:
        """The row with its table. Raises only AtalaiaError: Ray hides the text of other errors from
        the driver."""
        try:
            return self._process(row)
        except AtalaiaError:
            raise
        except Exception as error:
            log.exception("a chunk failed")
            reason = redact(f"{type(error).__name__}: {error}").partition("\n")[0]
            raise UnavailableError(
                f"a worker failed: {reason[:300]}",
                hint="Start the job again: it reuses finished chunks.",
            ) from error

    def _process(self, row: Row) -> Row:
        chunk = Chunk.model_validate_json(row["chunk"])
        key = chunk.key(self._spec)
        data = asyncio.run(self._stored(key)) if self._keep else None
        reused = data is not None
        if data is None:
            data = self._infer_chunk(chunk)
            if self._keep:
                asyncio.run(self._store(key, data))
        return {"table": data, "reused": reused}

    def _infer_chunk(self, chunk: Chunk) -> bytes:
        if self._detector is None:
            # Lazily: a job whose tables all exist needs no model.
            self._detector = open_detector(self._choice, self._spec, self._settings)
        began_s, stats = time.process_time(), ReadStats()
        results: list[FrameDetections] = []
        problem = ""
        try:
            results += infer(chunk, self._spec, self._detector, stats, self._pace)
        except BrokenVideoError as error:
            problem = error.message
        facts = ChunkFacts(
            decoded=stats.frames,
            looked=len(results),
            last_us=0 if stats.last_us is None else chunk.source.zero_us + stats.last_us,
            corrupt=stats.corrupt,
            core_s=time.process_time() - began_s,
            problem=problem or stats.cut_short,
        )
        return table.encode(results, facts)

    async def _stored(self, key: str) -> bytes | None:
        async with TenantBlobs(self._settings.blob_url, self._spec.tenant) as blobs:
            try:
                data = await blobs.get(key)
                table.read_facts(data)
            except NotFoundError:
                return None
            except ValueError as error:
                log.warning("a stored table is invalid and made again", key=key, reason=str(error))
                return None
            return data

    async def _store(self, key: str, data: bytes) -> None:
        async with TenantBlobs(self._settings.blob_url, self._spec.tenant) as blobs:
            await blobs.put(key, data)


def infer(
    chunk: Chunk, spec: InferenceSpec, detector: BatchDetector, stats: ReadStats, pace: Pace
) -> Iterator[FrameDetections]:
    """Detections in the due frames of a chunk, in order: the frames that the live path analyses.

    Decoding goes on while the detector works. At most `concurrency + 1` groups of frames are held.

    Raises:
        BrokenVideoError: the file cannot be opened.
        UnavailableError: the storage or the detector does not answer.
        ModelError: the model fails.
    """
    with ThreadPoolExecutor(detector.concurrency, thread_name_prefix="infer") as threads:
        if spec.rates is not None:
            yield from _Attentive(spec, spec.rates, detector, threads, pace).infer(chunk, stats)
            return
        waiting: deque[tuple[list[FrameDetections], Future[list[Detections]]]] = deque()
        for group in _groups(due_frames(chunk, spec, stats), detector.batch_size):
            inputs = [frame for _, frame in group]
            pace.take(len(inputs))
            waiting.append(([due for due, _ in group], threads.submit(detector.detect, inputs)))
            if len(waiting) > detector.concurrency:
                yield from _result(*waiting.popleft())
        while waiting:
            yield from _result(*waiting.popleft())


def _result(
    group: list[FrameDetections], result: Future[list[Detections]]
) -> Iterator[FrameDetections]:
    for due, detections in zip(group, result.result(), strict=True):
        yield FrameDetections(due.capture_us, due.media_us, due.size, detections)


class Picker(Protocol):
    """Selects the frames of one chunk; see `AttentiveSampler`."""

    def begin_after(self, capture_us: int) -> None: ...

    def offer(self, capture_us: int, luma: Callable[[], Luma]) -> bool: ...


class _Even:
    """Frames at an even rate."""

    def __init__(self, spec: InferenceSpec) -> None:
        self._sampler = FrameSampler(spec.fps, _phase(spec))

    def begin_after(self, capture_us: int) -> None:
        # The sampler's state depends on the previous frame alone.
        self.offer(capture_us, lambda: np.empty((0, 0), np.uint8))

    def offer(self, capture_us: int, luma: Callable[[], Luma]) -> bool:
        due = self._sampler.offer(capture_us)
        self._sampler.done()
        return due


class _Attentive:
    """Frames by what moves and by what was found, as the live path selects them.

    What lies before the chunk is unknown, so its first seconds are analysed at the highest rate:
    all frames that the live path analyses, and more.

    Results are needed after `LAG_US` of video, so frames go to the detector one by one: no more
    than that are in flight.
    """

    def __init__(
        self,
        spec: InferenceSpec,
        rates: Rates,
        detector: BatchDetector,
        threads: ThreadPoolExecutor,
        pace: Pace,
    ) -> None:
        self._spec = spec
        self._detector = detector
        self._threads = threads
        self._pace = pace
        self._sampler = AttentiveSampler(rates, _phase(spec), Urgency.NEW)
        self._waiting: deque[tuple[FrameDetections, Future[list[Detections]]]] = deque()
        self._ready: deque[FrameDetections] = deque()

    def infer(self, chunk: Chunk, stats: ReadStats) -> Iterator[FrameDetections]:
        """Like the function `infer`."""
        for due, frame in due_frames(chunk, self._spec, stats, self):
            yield from self._take_ready()
            self._pace.take(1)
            call = self._threads.submit(self._detector.detect, [frame])
            self._waiting.append((due, call))
            if len(self._waiting) > self._detector.concurrency:
                self._learn()
        while self._waiting:
            self._learn()
        yield from self._take_ready()

    def begin_after(self, capture_us: int) -> None:
        self._sampler.begin_after(capture_us)

    def offer(self, capture_us: int, luma: Callable[[], Luma]) -> bool:
        while self._waiting and self._waiting[0][0].capture_us + LAG_US <= capture_us:
            self._learn()
        due = self._sampler.offer(capture_us, luma)
        self._sampler.done()
        return due

    def _learn(self) -> None:
        """Wait for the result of the frame that has waited longest."""
        due, call = self._waiting.popleft()
        (frame,) = _result([due], call)
        self._sampler.learn(frame.capture_us, frame.detections, frame.size)
        self._ready.append(frame)

    def _take_ready(self) -> Iterator[FrameDetections]:
        while self._ready:
            yield self._ready.popleft()


def _phase(spec: InferenceSpec) -> float:
    return grid_phase(CameraKey(spec.tenant, spec.camera))


def due_frames(
    chunk: Chunk, spec: InferenceSpec, stats: ReadStats, picker: Picker | None = None
) -> Iterator[tuple[FrameDetections, LetterboxedFrame]]:
    """Frames to analyse, with detections still empty: the same sampling grid as the live path.

    Args:
        picker: selects them; None: at an even rate.

    Raises:
        BrokenVideoError: the file cannot be opened.
        UnavailableError: the storage does not answer.
    """
    picker = picker or _Even(spec)
    painter = MaskPainter(spec.masks)
    zero_us, first = chunk.source.zero_us, True
    for previous_us, frame in chunk_frames(chunk.source.url, chunk.from_us, chunk.to_us, stats):
        if first and previous_us is not None:
            picker.begin_after(zero_us + previous_us)
        first = False
        at_us = media_us(frame)
        capture_us = zero_us + at_us
        if capture_us >= chunk.infer_to_us:
            return
        due = picker.offer(capture_us, partial(_small_luma, frame, painter))
        if due and capture_us >= chunk.infer_from_us:
            planes = planes_of(frame, painter)
            due_frame = FrameDetections(capture_us, at_us, planes.size, Detections.empty())
            yield due_frame, letterbox_i420(planes, spec.input_size)


def _small_luma(frame: VideoFrame, painter: MaskPainter) -> Luma:
    return small_luma(planes_of(frame, painter).y)


def _groups(
    frames: Iterator[tuple[FrameDetections, LetterboxedFrame]], size: int
) -> Iterator[list[tuple[FrameDetections, LetterboxedFrame]]]:
    group: list[tuple[FrameDetections, LetterboxedFrame]] = []
    for frame in frames:
        group.append(frame)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
