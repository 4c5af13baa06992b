"""The clip of an alarm: made from the recording when somebody asks for it, then kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from uuid import UUID

from cluster.clips.playable import PLAYED_EVERYWHERE, encode_for_browsers
from cluster.clips.scratch import Readable, Workshop
from cluster.clips.stitch import Stitched, Stitcher, StreamFormat, picture_format
from cluster.clips.timeline import GAP_US, Span, covered, needed_from
from cluster.core.log import get_logger
from pipelines.clock import Clock
from pipelines.domain import Alarm, Frozen, Recording, Segment
from pipelines.errors import ConflictError, UnknownThingError
from pipelines.times import rfc3339

log = get_logger("evidence.clips")

# Each takes a fraction of a second of a core, and on disk three times what it is made of.
AT_ONCE = 2
# Clips that are asked for, of all tenants, while they are being made.
MAX_WAITING = 64
# A clip of some seconds takes a fraction of one; object storage may take some.
WAIT_S = 8.0
MAX_SEGMENTS = 500


class ClipState(StrEnum):
    PENDING = "pending"
    READY = "ready"
    NONE = "none"


class ClipReason(StrEnum):
    """Why there is no clip (yet), for programs; people get a sentence."""

    NOT_STORED_YET = "not-stored-yet"
    BEING_MADE = "being-made"
    RECORDING_OFF = "recording-off"
    NOT_RECORDED = "not-recorded"
    DAMAGED = "damaged"


class ClipFile(Frozen):
    """What is known of a clip that was made; kept beside it. Times are UTC microseconds."""

    version: int = 1
    from_us: int
    to_us: int
    gaps: tuple[tuple[int, int], ...]
    codec: str
    encoded_from: str | None = None
    """Codec of the recording, where the pictures were encoded anew; None: they are its own."""
    width: int
    height: int
    audio: bool
    masked: bool
    size: int
    sha256: str
    sources: tuple[str, ...]
    """Hashes of the segments that held the range when it was made."""

    @property
    def span(self) -> Span:
        return Span(self.from_us, self.to_us)


@dataclass(frozen=True, slots=True)
class Clip:
    """Where an alarm's clip stands. `span`: what it covers, or is to cover."""

    state: ClipState
    span: Span
    reason: ClipReason | None = None
    text: str = ""
    file: ClipFile | None = None


class Storage(Readable, Protocol):
    async def get(self, key: str) -> bytes: ...

    async def put(self, key: str, data: bytes) -> None: ...

    async def put_file(self, key: str, source: Path) -> None: ...


class Recordings(Protocol):
    async def between(
        self, camera: str | None, from_us: int, to_us: int, *, limit: int
    ) -> list[Segment]: ...


def clip_key(alarm: UUID, kind: str) -> str:
    """Key of a file of an alarm's clip.

    Args:
        kind: mp4, clip.json (a `ClipFile`), boxes.json or boxes.vtt.
    """
    return f"clips/{alarm}.{kind}"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an alarm's camera.

    Attributes:
        settled_after_s: seconds after an alarm, from which on what is not stored was not recorded;
            0 where nothing is recorded (`cluster.recording.finality`).
    """

    recording: Recording
    settled_after_s: float

    def span(self, alarm: Alarm) -> Span:
        """What the clip of an alarm is to cover."""
        return Span(
            alarm.capture_us - round(self.recording.pre_roll_s * 1_000_000),
            alarm.capture_us + round(self.recording.post_roll_s * 1_000_000),
        )

    def settled_us(self, alarm: Alarm) -> int:
        """When all that was recorded around an alarm is stored, if nothing is wrong."""
        return alarm.capture_us + round(self.settled_after_s * 1_000_000)


def around(segments: Sequence[Segment], at_us: int) -> list[Segment]:
    """Of segments in order, those around a moment whose pictures have the format of that moment's.

    A moment that falls into a gap, as when the recording's mode was just changed, is among them
    where both sides of the gap have one format; none where one side is missing."""
    return _run(segments, [(s.codec, s.width, s.height) for s in segments], at_us)


def _run(
    segments: Sequence[Segment],
    formats: Sequence[tuple[str, int, int] | StreamFormat],
    at_us: int,
) -> list[Segment]:
    begun = [n for n, segment in enumerate(segments) if segment.start_us <= at_us]
    if not begun:
        return []
    # Where one ends as the other starts, the moment is the first of the other.
    first = last = nearest = begun[-1]
    while first > 0 and formats[first - 1] == formats[nearest]:
        first -= 1
    while last + 1 < len(segments) and formats[last + 1] == formats[nearest]:
        last += 1
    in_a_gap = at_us > segments[nearest].end_us
    return [] if in_a_gap and last == nearest else list(segments[first : last + 1])


def _holds(segments: Sequence[Segment], at_us: int) -> bool:
    return any(segment.start_us <= at_us <= segment.end_us for segment in segments)


class ClipMaker:
    """Answers where a clip stands, and makes it where that is possible now.

    Args:
        workshop: where it is put together; closed by its owner.
    """

    def __init__(self, workshop: Workshop, clock: Clock) -> None:
        self._workshop = workshop
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._making: dict[tuple[str, UUID], asyncio.Task[Clip]] = {}

    async def clip(
        self, alarm: Alarm, kept: Kept, recordings: Recordings, storage: Storage
    ) -> Clip:
        """Where the clip of an alarm stands.

        Args:
            kept: what is kept of its camera.
            recordings, storage: of the alarm's tenant.

        Raises:
            UnavailableError: records, storage or disk are away.
        """
        span = kept.span(alarm)
        file = await _made_before(alarm, storage)
        if file is not None and _whole(covered_by(file), span):
            return Clip(ClipState.READY, file.span, file=file)
        segments = await recordings.between(
            alarm.camera, span.from_us, span.to_us, limit=MAX_SEGMENTS
        )
        # Files may come late, after the storage was away: then there is more to show than before.
        if file is not None and file.sources == tuple(s.sha256 for s in segments):
            return Clip(ClipState.READY, file.span, file=file)
        settled_us = kept.settled_us(alarm)
        if self._clock.now_us() < settled_us and not _whole(covered(segments), span):
            return _pending(span, settled_us)
        if not around(segments, alarm.capture_us):
            return _nothing(span, kept)
        return await self._made(alarm, span, segments, storage)

    async def aclose(self) -> None:
        """Stop what is being made. Idempotent."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _made(
        self, alarm: Alarm, span: Span, segments: list[Segment], storage: Storage
    ) -> Clip:
        """The clip, made once however many ask for it at the same time."""
        name = alarm.tenant, alarm.id
        if name not in self._making:
            if len(self._making) >= MAX_WAITING:
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
            # Who waits gets it too; where nobody does any more, it would be lost.
            log.warning("a clip could not be made", alarm=str(name[1]), error=str(error))

    async def _make(
        self, alarm: Alarm, span: Span, segments: list[Segment], storage: Storage
    ) -> Clip:
        # What is fetched, what is made of it, and that as H.264, which may be four times as large.
        size = sum(segment.size for segment in segments) * 6
        async with self._slots, self._workshop.table(size) as folder:
            wanted = needed_from(around(segments, alarm.capture_us), span.from_us)
            found = await self._fetched(wanted, storage, folder)
            formats = [form for _, _, form in found]
            run = _run([segment for segment, _, _ in found], formats, alarm.capture_us)
            lost = _holds(segments, alarm.capture_us) and not _holds(run, alarm.capture_us)
            if lost or not run:
                return _damaged(span)
            pieces = [(segment, path) for segment, path, _ in found if segment in run]
            stitched = await self._workshop.run(lambda: _stitched(pieces, span, folder))
            if stitched is None:
                return _nothing(span, None)
            made = await self._workshop.run(lambda: _playable(stitched, run[0].codec, folder))
            file = _describe(made, run, segments)
            await storage.put_file(clip_key(alarm.id, "mp4"), made.path)
            # Last, so that who finds the description finds the clip.
            await storage.put(clip_key(alarm.id, "clip.json"), file.model_dump_json().encode())
        return Clip(ClipState.READY, file.span, file=file)

    async def _fetched(
        self, segments: list[Segment], storage: Storage, folder: Path
    ) -> list[tuple[Segment, Path, StreamFormat]]:
        """The segments that are there and as they were recorded, as files."""
        found = []
        for n, segment in enumerate(segments):
            path = folder / f"{n}.mp4"
            try:
                await self._workshop.fetch(storage, segment, path)
                form = await self._workshop.run(lambda path=path: picture_format(path))  # type: ignore[misc]
            except (UnknownThingError, ConflictError) as error:
                log.warning("a segment is left out of a clip", reason=error.message)
                continue
            found.append((segment, path, form))
        return found


def covered_by(file: ClipFile) -> list[Span]:
    """The stretches that a clip covers: what lies between its gaps."""
    edges = [file.from_us, *(edge for gap in file.gaps for edge in gap), file.to_us]
    return [Span(edges[n], edges[n + 1]) for n in range(0, len(edges), 2)]


def _whole(spans: list[Span], wanted: Span) -> bool:
    return any(
        span.from_us <= wanted.from_us + GAP_US and span.to_us >= wanted.to_us - GAP_US
        for span in spans
    )


async def _made_before(alarm: Alarm, storage: Storage) -> ClipFile | None:
    try:
        return ClipFile.model_validate_json(await storage.get(clip_key(alarm.id, "clip.json")))
    except UnknownThingError:
        return None


def _stitched(pieces: list[tuple[Segment, Path]], span: Span, folder: Path) -> Stitched | None:
    sound = next((path for segment, path in pieces if segment.audio is not None), None)
    with Stitcher(folder / "clip.mp4", span.from_us, span.to_us, sound) as stitcher:
        for segment, path in pieces:
            stitcher.add(path, segment.origin_us)
        return stitcher.close()


def _playable(stitched: Stitched, codec: str, folder: Path) -> Stitched:
    if codec in PLAYED_EVERYWHERE:
        return stitched
    return encode_for_browsers(stitched, folder / "for-browsers.mp4")


def _describe(made: Stitched, run: list[Segment], segments: list[Segment]) -> ClipFile:
    recorded = run[0].codec
    return ClipFile(
        from_us=made.from_us,
        to_us=made.to_us,
        gaps=tuple((gap.from_us, gap.to_us) for gap in made.gaps),
        codec=made.codec,
        encoded_from=None if made.codec == recorded else recorded,
        width=made.width,
        height=made.height,
        audio=made.audio,
        masked=any(segment.masked for segment in run),
        size=made.size,
        sha256=made.sha256,
        sources=tuple(segment.sha256 for segment in segments),
    )


def _pending(span: Span, until_us: int) -> Clip:
    return Clip(
        ClipState.PENDING,
        span,
        ClipReason.NOT_STORED_YET,
        f"What was recorded is not stored yet; it will be by {rfc3339(until_us)}.",
    )


def _being_made(span: Span) -> Clip:
    return Clip(ClipState.PENDING, span, ClipReason.BEING_MADE, "The clip is being made.")


def _damaged(span: Span) -> Clip:
    return Clip(
        ClipState.NONE,
        span,
        ClipReason.DAMAGED,
        "The file of this moment is gone from the storage, or is not what was recorded.",
    )


def _nothing(span: Span, kept: Kept | None) -> Clip:
    if kept is not None and kept.settled_after_s == 0:
        return Clip(ClipState.NONE, span, ClipReason.RECORDING_OFF, "This camera is not recorded.")
    return Clip(
        ClipState.NONE,
        span,
        ClipReason.NOT_RECORDED,
        "This moment was not recorded, or the recording is not kept any more.",
    )
