"""One camera's recorder: units in without ever waiting, segments out, in a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cluster.core.log import get_logger
from cluster.recording.segment import SegmentFile, SegmentWriter, VideoFormat, VideoUnit
from cluster.recording.sound import NO_SOUND, SoundConverter, SoundPlan, SoundUnit
from cluster.recording.tags import NO_TAGS, Tags
from pipelines.errors import AtalaiaError, InputError

log = get_logger("recording.recorder")

# A disk that stands still for four seconds at 8 Mbit/s; then pictures are lost rather than memory.
MAX_WAITING_BYTES = 4_000_000
TAKE_EVERY_S = 0.5
"""One wake-up for many pictures costs less than one for each of 25 a second and camera."""
GAP_US = 2_000_000
"""A picture this long after the one before it is the start of something else: a new segment."""
SLACK_US = 20_000
"""Half a frame: capture times waver by microseconds, and ten groups of a second are ten seconds."""
PART = ".part"
LEFT_OUT = "sound left out: it does not fit into the file"

Through = Callable[[VideoUnit, VideoFormat], Iterable[tuple[VideoUnit, VideoFormat]]]


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """How the recorder is doing.

    Attributes:
        segments: finished so far.
        written: pictures in finished segments and in the open one.
        dropped: pictures that were not written: the disk was too slow, or refused.
        mute: pieces of sound that were not written.
        open: whether a segment is being written.
        error: why the last segment failed, for people; empty while all is well.
    """

    segments: int = 0
    written: int = 0
    dropped: int = 0
    mute: int = 0
    open: bool = False
    error: str = ""


class Recorder:
    """Cuts the stream at key frames into files of about `segment_us`.

    Args:
        name: for logs.
        folder: where segments are written, as `<start_us>.mp4.part` until they are finished.
        segment_us: a new segment starts with the first key frame after this long.
        on_segment: told of every finished file, from the recorder's thread; it owns the file.
        on_left: told of a file that could not be finished, from the same thread; it owns it too.
        tags: what each file says of itself.
        through: makes of a unit what is recorded in its place, or raises InputError where it
            cannot; none: the unit itself.
        wanted: whether a picture of this capture time is recorded; none: every one is.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        segment_us: int,
        on_segment: Callable[[SegmentFile], None],
        on_left: Callable[[Path], None] = lambda _: None,
        tags: Tags = NO_TAGS,
        through: Through | None = None,
        wanted: Callable[[int], bool] = lambda _: True,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._name = name
        self._folder = folder
        self._segment_us = segment_us
        self._on_segment = on_segment
        self._on_left = on_left
        self._tags = tags
        self._through = through
        self._wanted = wanted
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()  # bytes, and what to do
        self._waiting_bytes = 0
        self._refusing = False
        self._closing = False
        self._changed = threading.Condition()
        self._refused = 0  # by `offer`; the counts below belong to the thread
        self._segments = self._written = self._lost = 0
        self._mute = 0  # pieces of sound that were lost
        self._hearing = NO_SOUND
        self._converter: SoundConverter | None = None
        self._error = ""
        self._writer: SegmentWriter | None = None
        self._format: VideoFormat | None = None
        self._start_us = self._last_us = 0
        self._thread = threading.Thread(target=self._run, name=f"record {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def status(self) -> RecorderStatus:
        """A snapshot; safe from any thread."""
        return RecorderStatus(
            self._segments,
            self._written,
            self._refused + self._lost,
            self._mute,
            self._writer is not None,
            self._error,
        )

    def offer(self, unit: VideoUnit, video: VideoFormat) -> None:
        """Take one more picture. Never waits: with too much waiting already it is dropped, and with
        it all that cannot be decoded without it."""
        with self._changed:
            full = self._waiting_bytes + len(unit.data) > self._max_waiting_bytes
            self._refusing = full or (self._refusing and not unit.key_frame)
            if self._refusing:
                self._refused += 1
                return
            self._waiting.append((len(unit.data), partial(self._see, unit, video)))
            self._waiting_bytes += len(unit.data)
            self._wake_early()

    def offer_sound(self, unit: SoundUnit, plan: SoundPlan) -> None:
        """Take one more piece of sound. Never waits: with too much waiting it is dropped."""
        with self._changed:
            if self._refusing or self._waiting_bytes + len(unit.data) > self._max_waiting_bytes:
                self._mute += 1
                return
            self._waiting.append((len(unit.data), partial(self._hear, unit, plan)))
            self._waiting_bytes += len(unit.data)
            self._wake_early()

    def _wake_early(self) -> None:
        if self._waiting_bytes > self._max_waiting_bytes // 4:
            self._changed.notify()

    def request_close(self) -> None:
        """Write what waits and finish the open segment, without waiting for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> bool:
        """Write what waits and finish the open segment; False where that took too long."""
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
            # Top of the thread: a recording must not end because of one picture.
            log.exception("recorder failed", recorder=self._name)
            self._fail("an internal error; see the log")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait(TAKE_EVERY_S)
            size, step = self._waiting.popleft()
            self._waiting_bytes -= size
            return step

    def _see(self, unit: VideoUnit, video: VideoFormat) -> None:
        if not self._wanted(unit.capture_us):
            self._finish()
        elif self._through is None:
            self._write(unit, video)
        else:
            try:
                made = list(self._through(unit, video))
            except InputError:
                self._lost += 1  # one damaged picture is no reason to end the segment
                return
            for each in made:
                self._write(*each)

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
        if replace(video, sound=NO_SOUND) != replace(self._format, sound=NO_SOUND):
            return True
        if unit.key_frame and video.sound != self._format.sound:
            return True  # not before: it would cost a group of pictures
        if not 0 < unit.decode_us - self._last_us < GAP_US:
            return True
        return unit.key_frame and unit.capture_us - self._start_us >= self._segment_us - SLACK_US

    def _hear(self, unit: SoundUnit, plan: SoundPlan) -> None:
        """Sound never ends a segment: where it does not fit, it is left out."""
        try:
            self._write_sound(unit, plan)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the pictures go on
            if not self._mute:
                log.warning("sound is lost", recorder=self._name, reason=str(error))
            self._mute += 1

    def _write_sound(self, unit: SoundUnit, plan: SoundPlan) -> None:
        if self._writer is None:
            return
        if plan.format is not None and plan.convert and plan != self._hearing:
            self._converter = SoundConverter(plan.convert, plan.format)
        self._hearing = plan
        convert = self._converter if plan.convert else None
        for made in convert.feed(unit) if convert is not None else (unit,):
            self._writer.write_sound(made)

    def _open(self, unit: VideoUnit, video: VideoFormat) -> None:
        path = self._folder / f"{unit.capture_us}.mp4{PART}"
        try:
            self._writer = SegmentWriter(path, video, self._tags)
        except InputError:
            if video.sound.format is None:
                raise
            without = replace(video, sound=SoundPlan(note=LEFT_OUT))
            self._writer = SegmentWriter(path, without, self._tags)
        self._format, self._start_us = video, unit.capture_us

    def _finish(self) -> None:
        if self._writer is None:
            return
        done = self._writer.close()
        self._writer = None  # not before: a file that cannot be finished is left to be mended
        if done is not None:
            self._on_segment(done)
            self._segments += 1

    def _fail(self, reason: str) -> None:
        if not self._error:
            log.warning("recording failed", recorder=self._name, reason=reason)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abandon()
            self._on_left(writer.path)
        self._lost += 1
        self._error = reason
