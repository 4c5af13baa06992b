"""The clip of an alarm: made from the recording on first request, then stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from uuid import UUID

from cluster.clips.coverage import GAP_US, Span, covered, segments_from
from cluster.clips.playable import UNIVERSAL_CODECS, encode_for_browsers
from cluster.clips.scratch import Readable, Scratch
from cluster.clips.stitch import Stitched, Stitcher, StreamFormat, video_format
from cluster.core.log import get_logger
from pipelines.clock import Clock
from pipelines.domain import Alarm, Frozen, Recording, Segment, painted_us
from pipelines.errors import ConflictError, NotFoundError
from pipelines.times import rfc3339

log = get_logger("evidence.clips")

# A clip takes a fraction of a second of one core, and three times the size of its segments on disk.
MAX_CONCURRENT = 2
# Clips in the making, of all tenants.
MAX_WAITING = 64
# Making a clip of some seconds takes a fraction of one; object storage may add some seconds.
WAIT_S = 8.0
# A clip of minutes from segments of seconds stays far below this.
MAX_SEGMENTS = 500


class ClipState(StrEnum):
    """Whether a clip is available."""

    PENDING = "pending"
    READY = "ready"
    NONE = "none"


class ClipReason(StrEnum):
    """Why there is no clip (yet), for programs. `Clip.text` is for people."""

    NOT_STORED_YET = "not-stored-yet"
    BEING_MADE = "being-made"
    RECORDING_OFF = "recording-off"
    NOT_RECORDED = "not-recorded"
    DAMAGED = "damaged"
    BEFORE_MASK = "before-mask"


class ClipFile(Frozen):
    """Description of a stored clip, stored beside it. Times are UTC microseconds."""

    version: int = 1
    from_us: int
    to_us: int
    gaps: tuple[tuple[int, int], ...]
    codec: str
    encoded_from: str | None = None
    """Codec of the recording if the frames were re-encoded; None: they were copied."""
    width: int
    height: int
    audio: bool
    masked: bool
    masks_us: int | None = None
    """All masks that the camera had at this moment are painted into it, if it is `masked`. None:
    nobody noted it."""
    size: int
    sha256: str
    sources: tuple[str, ...]
    """Hashes of the segments in the range when the clip was made."""
    hidden: str = ""
    """Of an anonymised clip: what it was made of (`cluster.clips.anonymous`)."""

    @property
    def span(self) -> Span:
        """What the clip covers."""
        return Span(self.from_us, self.to_us)

    @property
    def painted_us(self) -> int | None:
        """As of a `Segment`."""
        return painted_us(self.from_us, self.masks_us, masked=self.masked)

    def at(self, path: Path) -> Stitched:
        """The clip as a finished file that was fetched to `path`. Its gaps and its number of frames
        are not described, and are empty."""
        return Stitched(
            path=path,
            from_us=self.from_us,
            to_us=self.to_us,
            gaps=(),
            frames=0,
            codec=self.codec,
            width=self.width,
            height=self.height,
            audio=self.audio,
            size=self.size,
            sha256=self.sha256,
        )


@dataclass(frozen=True, slots=True)
class Clip:
    """The state of an alarm's clip. `span`: what it covers or will cover."""

    state: ClipState
    span: Span
    reason: ClipReason | None = None
    text: str = ""
    file: ClipFile | None = None


class Storage(Readable, Protocol):
    """A tenant's blob storage."""

    async def get(self, key: str) -> bytes: ...

    async def put(self, key: str, data: bytes) -> None: ...

    async def put_file(self, key: str, source: Path) -> None: ...


class Recordings(Protocol):
    """A tenant's recorded segments."""

    async def between(
        self, camera: str | None, from_us: int, to_us: int, *, limit: int
    ) -> list[Segment]: ...


_KINDS = ("clip.json", "mp4", "hidden.clip.json", "hidden.mp4", "boxes.json", "boxes.vtt")


def clip_key(alarm: UUID, kind: str) -> str:
    """Key of a file that belongs to an alarm's clip.

    Args:
        kind: mp4, clip.json (a `ClipFile`), boxes.json or boxes.vtt; hidden.mp4, hidden.clip.json:
            the anonymised clip.
    """
    return f"clips/{alarm}.{kind}"


def clip_keys(alarm: UUID) -> list[str]:
    """Keys of all files of an alarm's clip, in the order in which they may be removed: whoever
    finds the description must find the clip."""
    return [clip_key(alarm, kind) for kind in _KINDS]


@dataclass(frozen=True, slots=True)
class RecordingPolicy:
    """How the alarm's camera is recorded.

    Attributes:
        settled_after_s: seconds after an alarm until its recording is completely stored; 0 if the
            camera is not recorded (`cluster.recording.finality`).
    """

    recording: Recording
    settled_after_s: float

    def span(self, alarm: Alarm) -> Span:
        """What the clip of an alarm should cover."""
        return Span(
            alarm.capture_us - round(self.recording.pre_roll_s * 1_000_000),
            alarm.capture_us + round(self.recording.post_roll_s * 1_000_000),
        )

    def settled_us(self, alarm: Alarm) -> int:
        """When everything recorded around an alarm is stored, barring outages, UTC microseconds."""
        return alarm.capture_us + round(self.settled_after_s * 1_000_000)


def around(segments: Sequence[Segment], at_us: int) -> list[Segment]:
    """The run of segments around a time that share one video format.

    A time in a gap, as after a change of the recording mode, belongs to the run if both sides of
    the gap have the same format. If one side is missing, the result is empty.

    Args:
        segments: in time order.
        at_us: UTC microseconds.
    """
    return _run_around(segments, [(s.codec, s.width, s.height) for s in segments], at_us)


def _run_around(
    segments: Sequence[Segment],
    formats: Sequence[tuple[str, int, int] | StreamFormat],
    at_us: int,
) -> list[Segment]:
    started = [n for n, segment in enumerate(segments) if segment.start_us <= at_us]
    if not started:
        return []
    # At the border of two segments, the time belongs to the later one.
    first = last = nearest = started[-1]
    while first > 0 and formats[first - 1] == formats[nearest]:
        first -= 1
    while last + 1 < len(segments) and formats[last + 1] == formats[nearest]:
        last += 1
    in_gap = at_us > segments[nearest].end_us
    return [] if in_gap and last == nearest else list(segments[first : last + 1])


def _holds(segments: Sequence[Segment], at_us: int) -> bool:
    return any(segment.start_us <= at_us <= segment.end_us for segment in segments)


class ClipMaker:
    """Reports the state of clips, and makes them when possible.

    Args:
        scratch: where clips are made; closed by its owner.
    """

    def __init__(self, scratch: Scratch, clock: Clock) -> None:
        self._scratch = scratch
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._making: dict[tuple[str, UUID], asyncio.Task[Clip]] = {}

    async def clip(
        self,
        alarm: Alarm,
        policy: RecordingPolicy,
        recordings: Recordings,
        storage: Storage,
        *,
        at_most: int = MAX_WAITING,
    ) -> Clip:
        """The state of an alarm's clip. Makes the clip if that is possible now.

        Args:
            policy: how the alarm's camera is recorded.
            recordings, storage: of the alarm's tenant.
            at_most: clips of that tenant in the making; a further one is reported as being made,
                and begun when it is requested again.

        Raises:
            UnavailableError: database, storage or disk is down.
        """
        span = policy.span(alarm)
        file = await _existing(alarm, storage)
        if file is not None and _is_whole(covered_by(file), span):
            return Clip(ClipState.READY, file.span, file=file)
        segments = await recordings.between(
            alarm.camera, span.from_us, span.to_us, limit=MAX_SEGMENTS
        )
        # Segments may arrive late, after an outage of the storage: then the clip can grow.
        if file is not None and file.sources == tuple(s.sha256 for s in segments):
            return Clip(ClipState.READY, file.span, file=file)
        settled_us = policy.settled_us(alarm)
        if self._clock.now_us() < settled_us and not _is_whole(covered(segments), span):
            return _pending(span, settled_us)
        if not around(segments, alarm.capture_us):
            return _nothing(span, policy)
        return await self._make_once(alarm, span, segments, storage, at_most)

    def in_the_making(self, tenant: str) -> int:
        """Clips of a tenant that are being made, or wait for it."""
        return sum(1 for name, _ in self._making if name == tenant)

    async def aclose(self) -> None:
        """Cancel the clips in the making. Idempotent."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make_once(
        self, alarm: Alarm, span: Span, segments: list[Segment], storage: Storage, at_most: int
    ) -> Clip:
        """The clip, made once for all concurrent requests."""
        name = alarm.tenant, alarm.id
        if name not in self._making:
            full = len(self._making) >= MAX_WAITING
            if full or self.in_the_making(alarm.tenant) >= at_most:
                return _being_made(span)
            task = asyncio.create_task(
                self._make(alarm, span, segments, storage), name=f"clip {alarm.id}"
            )
            self._making[name] = task
            task.add_done_callback(lambda task: self._finished(name, task))
        done, _ = await asyncio.wait({self._making[name]}, timeout=WAIT_S)
        return done.pop().result() if done else _being_made(span)

    def _finished(self, name: tuple[str, UUID], task: asyncio.Task[Clip]) -> None:
        del self._making[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Waiting requests get the error too. Without one, it would be lost.
            log.warning("a clip could not be made", alarm=str(name[1]), error=str(error))

    async def _make(
        self, alarm: Alarm, span: Span, segments: list[Segment], storage: Storage
    ) -> Clip:
        # The segments, the clip, and its H.264 version, which may be four times as large.
        size = sum(segment.size for segment in segments) * 6
        async with self._slots, self._scratch.folder_for(size) as folder:
            wanted = segments_from(around(segments, alarm.capture_us), span.from_us)
            found = await self._fetched(wanted, storage, folder)
            formats = [form for _, _, form in found]
            run = _run_around([segment for segment, _, _ in found], formats, alarm.capture_us)
            lost = _holds(segments, alarm.capture_us) and not _holds(run, alarm.capture_us)
            if lost or not run:
                return _damaged(span)
            pieces = [(segment, path) for segment, path, _ in found if segment in run]
            stitched = await self._scratch.run(lambda: _stitched(pieces, span, folder))
            if stitched is None:
                return _nothing(span, None)
            clip = await self._scratch.run(lambda: _playable(stitched, run[0].codec, folder))
            file = _describe(clip, run, segments)
            await storage.put_file(clip_key(alarm.id, "mp4"), clip.path)
            # Last: a reader that finds the description must find the clip.
            await storage.put(clip_key(alarm.id, "clip.json"), file.model_dump_json().encode())
        return Clip(ClipState.READY, file.span, file=file)

    async def _fetched(
        self, segments: list[Segment], storage: Storage, folder: Path
    ) -> list[tuple[Segment, Path, StreamFormat]]:
        """The segments that still exist unchanged, copied to files, with their formats."""
        found = []
        for n, segment in enumerate(segments):
            path = folder / f"{n}.mp4"
            try:
                await self._scratch.fetch(storage, segment, path)
                form = await self._scratch.run(lambda path=path: video_format(path))  # type: ignore[misc]
            except (NotFoundError, ConflictError) as error:
                log.warning("segment left out of a clip", reason=error.message)
                continue
            found.append((segment, path, form))
        return found


def covered_by(file: ClipFile) -> list[Span]:
    """The spans that a clip covers: what lies between its gaps."""
    edges = [file.from_us, *(edge for gap in file.gaps for edge in gap), file.to_us]
    return [Span(edges[n], edges[n + 1]) for n in range(0, len(edges), 2)]


def _is_whole(spans: list[Span], wanted: Span) -> bool:
    """Whether one of the spans covers the wanted one, except for jitter."""
    return any(
        span.from_us <= wanted.from_us + GAP_US and span.to_us >= wanted.to_us - GAP_US
        for span in spans
    )


async def _existing(alarm: Alarm, storage: Storage) -> ClipFile | None:
    try:
        return ClipFile.model_validate_json(await storage.get(clip_key(alarm.id, "clip.json")))
    except NotFoundError:
        return None


def _stitched(pieces: list[tuple[Segment, Path]], span: Span, folder: Path) -> Stitched | None:
    audio = next((path for segment, path in pieces if segment.audio is not None), None)
    with Stitcher(folder / "clip.mp4", span.from_us, span.to_us, audio) as stitcher:
        for segment, path in pieces:
            stitcher.add(path, segment.origin_us)
        return stitcher.close()


def _playable(stitched: Stitched, codec: str, folder: Path) -> Stitched:
    if codec in UNIVERSAL_CODECS:
        return stitched
    return encode_for_browsers(stitched, folder / "for-browsers.mp4")


def _describe(clip: Stitched, run: list[Segment], segments: list[Segment]) -> ClipFile:
    source_codec = run[0].codec
    return ClipFile(
        from_us=clip.from_us,
        to_us=clip.to_us,
        gaps=tuple((gap.from_us, gap.to_us) for gap in clip.gaps),
        codec=clip.codec,
        encoded_from=None if clip.codec == source_codec else source_codec,
        width=clip.width,
        height=clip.height,
        audio=clip.audio,
        masked=all(segment.masked for segment in run),
        masks_us=min((s.painted_us for s in run if s.painted_us is not None), default=None),
        size=clip.size,
        sha256=clip.sha256,
        sources=tuple(segment.sha256 for segment in segments),
    )


def _pending(span: Span, until_us: int) -> Clip:
    return Clip(
        ClipState.PENDING,
        span,
        ClipReason.NOT_STORED_YET,
        f"The recording is not stored yet. It will be by {rfc3339(until_us)}.",
    )


def _being_made(span: Span) -> Clip:
    return Clip(ClipState.PENDING, span, ClipReason.BEING_MADE, "The clip is being made.")


def _damaged(span: Span) -> Clip:
    return Clip(
        ClipState.NONE,
        span,
        ClipReason.DAMAGED,
        "The recording of this moment is missing from storage, or was changed.",
    )


def before_mask(clip: Clip) -> Clip:
    """The clip for those who may not see below the camera's masks."""
    return Clip(
        ClipState.NONE,
        clip.span,
        ClipReason.BEFORE_MASK,
        "This moment was recorded before the camera had its privacy masks; it needs the permission "
        "live.unmasked.",
    )


def _nothing(span: Span, policy: RecordingPolicy | None) -> Clip:
    if policy is not None and policy.settled_after_s == 0:
        return Clip(ClipState.NONE, span, ClipReason.RECORDING_OFF, "This camera is not recorded.")
    return Clip(
        ClipState.NONE,
        span,
        ClipReason.NOT_RECORDED,
        "This moment was not recorded, or its recording has been deleted.",
    )
