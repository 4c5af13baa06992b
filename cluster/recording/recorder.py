"""One camera's recorder: takes frames without blocking, writes segments in a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cluster.core.log import get_logger
from cluster.recording.audio import NO_AUDIO, AudioConverter, AudioPlan, AudioUnit
from cluster.recording.segment import SegmentFile, SegmentWriter, VideoFormat, VideoUnit
from cluster.recording.tags import NO_TAGS, Tags
from pipelines.domain import Polygon
from pipelines.errors import AtalaiaError, InputError

log = get_logger("recording.recorder")

# Four seconds of 8 Mbit/s for a disk that stalls. Beyond that, frames are dropped.
MAX_WAITING_BYTES = 4_000_000
WAKE_INTERVAL_S = 0.5
"""One wake-up for many frames costs less than one for each of 25 per second and camera."""
GAP_US = 2_000_000
"""A gap of this length between frames starts a new segment."""
SLACK_US = 20_000
"""Half a frame interval. Capture times jitter by microseconds, and ten groups of one second must
make a segment of ten seconds."""
PART = ".part"
AUDIO_LEFT_OUT = "sound left out: it does not fit into the file"


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """The state of a recorder.

    Attributes:
        segments: number of finished segments.
        written: frames in finished segments and in the open one.
        dropped: frames not written, because the disk was too slow or failed.
        audio_dropped: pieces of audio not written.
        open: whether a segment is open.
        error: why the last segment failed, for people; empty if all is well.
    """

    segments: int = 0
    written: int = 0
    dropped: int = 0
    audio_dropped: int = 0
    open: bool = False
    error: str = ""


class Recorder:
    """Splits the stream at key frames into files of about `segment_us`.

    Args:
        name: for logs.
        folder: where segments are written, as `<start_us>.mp4.part` until they are finished.
        segment_us: a new segment starts with the first key frame after this long.
        on_segment: called with every finished file, in the recorder's thread; takes ownership.
        on_unfinished: called with a file that could not be finished, in the same thread; takes
            ownership.
        tags: stored in each file.
        masks: the privacy masks that must be painted into each frame; whoever offers frames checks.
        should_record: whether to record a frame of this capture time, UTC microseconds.
        max_waiting_bytes: limit of the input queue.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        segment_us: int,
        on_segment: Callable[[SegmentFile], None],
        on_unfinished: Callable[[Path], None] = lambda _: None,
        tags: Tags = NO_TAGS,
        masks: tuple[Polygon, ...] = (),
        should_record: Callable[[int], bool] = lambda _: True,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self.masks = masks
        self._name = name
        self._folder = folder
        self._segment_us = segment_us
        self._on_segment = on_segment
        self._on_unfinished = on_unfinished
        self._tags = tags
        self._should_record = should_record
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()  # size in bytes, step
        self._waiting_bytes = 0
        self._dropping = False
        self._closing = False
        self._changed = threading.Condition()
        self._dropped_on_offer = 0  # written by `offer`; the thread owns the counters below
        self._segments = self._written = self._lost = 0
        self._audio_dropped = 0
        self._audio_plan = NO_AUDIO
        self._converter: AudioConverter | None = None
        self._error = ""
        self._writer: SegmentWriter | None = None
        self._format: VideoFormat | None = None
        self._start_us = self._last_us = 0
        self._thread = threading.Thread(target=self._run, name=f"record {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def status(self) -> RecorderStatus:
        """A snapshot. Thread-safe."""
        return RecorderStatus(
            self._segments,
            self._written,
            self._dropped_on_offer + self._lost,
            self._audio_dropped,
            self._writer is not None,
            self._error,
        )

    def offer(self, unit: VideoUnit, video: VideoFormat) -> None:
        """Queue a frame. Never blocks. If the queue is full, drops it and all frames up to the next
        key frame."""
        with self._changed:
            full = self._waiting_bytes + len(unit.data) > self._max_waiting_bytes
            self._dropping = full or (self._dropping and not unit.key_frame)
            if self._dropping:
                self._dropped_on_offer += 1
                return
            self._waiting.append((len(unit.data), partial(self._take_video, unit, video)))
            self._waiting_bytes += len(unit.data)
            self._wake_early()

    def offer_audio(self, unit: AudioUnit, plan: AudioPlan) -> None:
        """Queue a piece of audio. Never blocks. Drops it if the queue is full."""
        with self._changed:
            if self._dropping or self._waiting_bytes + len(unit.data) > self._max_waiting_bytes:
                self._audio_dropped += 1
                return
            self._waiting.append((len(unit.data), partial(self._take_audio, unit, plan)))
            self._waiting_bytes += len(unit.data)
            self._wake_early()

    def _wake_early(self) -> None:
        if self._waiting_bytes > self._max_waiting_bytes // 4:
            self._changed.notify()

    def request_close(self) -> None:
        """Write what is queued and finish the open segment, in the background."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> bool:
        """Write what is queued and finish the open segment; False after `timeout_s`. Blocks."""
        self.request_close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while (step := self._next()) is not None:
            self._guarded(step)
        self._guarded(self._finish)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except AtalaiaError as error:
            self._fail(error.message)
        except Exception:
            # Top of the thread: one bad frame must not end the recording.
            log.exception("recorder failed", recorder=self._name)
            self._fail("an internal error; see the log")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait(WAKE_INTERVAL_S)
            size, step = self._waiting.popleft()
            self._waiting_bytes -= size
            return step

    def _take_video(self, unit: VideoUnit, video: VideoFormat) -> None:
        if not self._should_record(unit.capture_us):
            self._finish()
        else:
            self._write(unit, video)

    def _write(self, unit: VideoUnit, video: VideoFormat) -> None:
        if self._writer is not None and self._ends_before(unit, video):
            self._finish()
        if self._writer is None:
            if not unit.key_frame:
                self._lost += 1
                return
            self._open(unit, video)
        assert self._writer is not None
        self._writer.write(unit)
        self._last_us = unit.decode_us
        self._written += 1
        self._error = ""

    def _ends_before(self, unit: VideoUnit, video: VideoFormat) -> bool:
        assert self._format is not None
        if replace(video, audio=NO_AUDIO) != replace(self._format, audio=NO_AUDIO):
            return True
        if unit.key_frame and video.audio != self._format.audio:
            return True  # only at a key frame; anywhere else it would lose a GOP
        if not 0 < unit.decode_us - self._last_us < GAP_US:
            return True
        return unit.key_frame and unit.capture_us - self._start_us >= self._segment_us - SLACK_US

    def _take_audio(self, unit: AudioUnit, plan: AudioPlan) -> None:
        """Write audio. Audio never ends a segment: what does not fit is left out."""
        try:
            self._write_audio(unit, plan)
        except Exception as error:  # noqa: BLE001 -- no audio problem may stop the video
            if not self._audio_dropped:
                log.warning("audio lost", recorder=self._name, reason=str(error))
            self._audio_dropped += 1

    def _write_audio(self, unit: AudioUnit, plan: AudioPlan) -> None:
        if self._writer is None:
            return
        if plan.format is not None and plan.convert and plan != self._audio_plan:
            self._converter = AudioConverter(plan.convert, plan.format)
        self._audio_plan = plan
        converter = self._converter if plan.convert else None
        for converted in converter.feed(unit) if converter is not None else (unit,):
            self._writer.write_audio(converted)

    def _open(self, unit: VideoUnit, video: VideoFormat) -> None:
        path = self._folder / f"{unit.capture_us}.mp4{PART}"
        try:
            self._writer = SegmentWriter(path, video, self._tags)
        except InputError:
            if video.audio.format is None:
                raise
            without = replace(video, audio=AudioPlan(note=AUDIO_LEFT_OUT))
            self._writer = SegmentWriter(path, without, self._tags)
        self._format, self._start_us = video, unit.capture_us

    def _finish(self) -> None:
        if self._writer is None:
            return
        done = self._writer.close()
        self._writer = None  # only now: a file that cannot be finished goes to `on_unfinished`
        if done is not None:
            self._on_segment(done)
            self._segments += 1

    def _fail(self, reason: str) -> None:
        if not self._error:
            log.warning("recording failed", recorder=self._name, reason=reason)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abandon()
            self._on_unfinished(writer.path)
        self._lost += 1
        self._error = reason
