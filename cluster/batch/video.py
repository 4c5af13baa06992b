"""Pictures out of video files, in the order in which they are shown, from any key frame on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cluster.batch.remote import BrokenVideoError, open_file
from pipelines.imaging import I420
from pipelines.masking import MaskPainter

S = 1_000_000
# The picture before a chunk decides whether the chunk's first one is looked at. A key frame that
# lies this far ahead of the chunk has that picture behind it.
LEAD_US = 1 * S
# The same for the second look, longer where the first was not long enough. Some containers seek by
# the time of decoding, which is a little earlier than the time of showing.
_LEADS_US = (LEAD_US, 5 * S, 30 * S)
_PLANAR = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a file says of itself.

    Attributes:
        first_us: time in the file of its first picture, microseconds.
        duration_us: microseconds; 0 where it does not say.
        created_us: its tag `creation_time`, UTC microseconds.
        whole: it can only be read from its beginning.
    """

    first_us: int
    duration_us: int
    created_us: int | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture. `media_us`: time in the file, microseconds."""

    media_us: int
    planes: I420


@dataclass(slots=True)
class ReadStats:
    """What reading met.

    Attributes:
        pictures: of the chunk; `last_us`: time in the file of the last of them.
        corrupt: packets that could not be decoded.
        cut_short: why the file ended before its end; empty where it did not.
    """

    pictures: int = 0
    last_us: int | None = None
    corrupt: int = 0
    cut_short: str = ""


@contextmanager
def open_video(url: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream.

    Args:
        url: path of a local file, else an fsspec URL.

    Raises:
        BrokenVideoError: it is not there, or holds no video that can be read.
        UnavailableError: its storage does not answer, perhaps only in the middle of the file.
    """
    with open_file(url) as file:
        try:
            options = {"fflags": "+genpts"}
            with av.open(file, "r", metadata_errors="ignore", options=options) as container:
                if not container.streams.video:
                    raise BrokenVideoError("it holds no video.")
                stream = container.streams.video[0]
                # Each worker has one core for this; threads would add pictures in flight.
                stream.thread_type = "NONE"
                yield container, stream
        except (av.error.FFmpegError, EOFError) as error:
            raise BrokenVideoError(f"it cannot be read: {_words(error)}.") from error


def probe(url: str) -> VideoFacts:
    """What the file says of itself; its first picture is decoded, to know that one can be.

    Raises:
        BrokenVideoError: it is none that can be looked at.
    """
    with open_video(url) as (container, stream):
        stats = ReadStats()
        first = next(_decode(container, stream, stats), None)
        if first is None:
            raise BrokenVideoError("not one picture in it can be decoded.")
        duration_us = container.duration or 0  # AV_TIME_BASE: microseconds
        if stream.duration and stream.time_base:
            duration_us = round(stream.duration * stream.time_base * S)
        return VideoFacts(
            first_us=_media_us(first),
            duration_us=duration_us,
            created_us=_created_us(container.metadata),
            whole=_is_counted(container, stream),
        )


def pictures(
    url: str, from_us: int | None, to_us: int | None, stats: ReadStats
) -> Iterator[tuple[int | None, VideoFrame]]:
    """The pictures of one chunk, each with the time of the picture before it (None: unknown).

    A chunk runs from the first key frame at or after `from_us` up to the first key frame at or
    after `to_us`, in the order in which pictures are shown: so chunks with the same borders share
    no picture and leave none out, wherever the key frames are, and nobody has to look for them
    before. Times are those in the file, microseconds.

    Args:
        url: as for `open_video`.
        from_us: None: from the beginning.
        to_us: None: to the end.
        stats: is counted up.

    Raises:
        BrokenVideoError: the file cannot be opened. One that breaks off in the middle ends there,
            and `stats.cut_short` says why.
    """
    with open_video(url) as (container, stream):
        reader = _ChunkReader(from_us, to_us)
        if from_us is not None:
            _seek(container, stream, from_us - LEAD_US)
        yield from reader.read(container, stream, stats)


def frames_from(url: str, from_us: int, stats: ReadStats) -> Iterator[VideoFrame]:
    """Pictures from a key frame before `from_us` (time in the file, microseconds) on.

    Raises:
        BrokenVideoError: the file cannot be opened.
    """
    for lead_us in (*_LEADS_US, from_us):
        with open_video(url) as (container, stream):
            _seek(container, stream, from_us - lead_us)
            start = _StartAtKeyFrame()
            frames = _decode(container, stream, stats, start)
            first = next(frames, None)
            # Containers that keep no index of key frames may put us behind the one that we need.
            if first is not None and (_media_us(first) <= from_us or lead_us >= from_us):
                yield first
                yield from frames
                return


@dataclass(slots=True)
class _StartAtKeyFrame:
    """Lets packets through from the first key frame on."""

    begun: bool = False

    def __call__(self, packet: Packet[VideoStream]) -> bool:
        self.begun = self.begun or packet.is_keyframe
        return self.begun


def _is_counted(container: InputContainer, stream: VideoStream) -> bool:
    """Whether times can only be had by counting pictures: AVI does not say when a picture is shown,
    and with B-frames that is not the order in which they come."""
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _seek(container: InputContainer, stream: VideoStream, to_us: int) -> None:
    """Go to a key frame before `to_us`, or as near as the container lets us."""
    if to_us <= 0 or stream.time_base is None or _is_counted(container, stream):
        return
    try:
        container.seek(int(to_us / S / stream.time_base), stream=stream, backward=True)
    except av.error.FFmpegError:
        # No index: read from the beginning; whoever called looks at times anyway.
        container.seek(0)


def planes_of(frame: VideoFrame, painter: MaskPainter) -> I420:
    """The planes, masks painted: views, or copies where something is painted, because the decoder
    still needs its own. A picture in another format than 8-bit 4:2:0 is converted first."""
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="yuv420p")
    width, height = frame.width, frame.height
    half = ((width + 1) // 2, (height + 1) // 2)
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:rows, :columns]
        for plane, (columns, rows) in zip(frame.planes, ((width, height), half, half), strict=True)
    )
    if not painter.masks:
        return I420(y, u, v)
    planes = I420(y.copy(), u.copy(), v.copy())
    painter.paint(planes)
    return planes


@dataclass(slots=True)
class _ChunkReader:
    """Follows one chunk through packets and pictures; times in the file, microseconds.

    Attributes:
        first_us: of the chunk's first key frame, once its packet was met.
        end_us: of the next chunk's first key frame, once its packet was met.
        before_us: the latest picture ahead of the one that is to come.
    """

    from_us: int | None
    to_us: int | None
    first_us: int | None = None
    end_us: int | None = None
    before_us: int | None = None

    def read(
        self, container: InputContainer, stream: VideoStream, stats: ReadStats
    ) -> Iterator[tuple[int | None, VideoFrame]]:
        for frame in _decode(container, stream, stats, self._wanted):
            media_us = _media_us(frame)
            if self.first_us is not None and media_us < self.first_us:
                continue  # shown before the key frame, so it belongs to the chunk before
            if self.end_us is not None and media_us >= self.end_us:
                return
            stats.pictures, stats.last_us = stats.pictures + 1, media_us
            yield self.before_us, frame
            self.before_us = media_us

    def _wanted(self, packet: Packet[VideoStream]) -> bool:
        """Whether the packet goes to the decoder."""
        media_us = _media_us(packet)
        if self.first_us is None and self.from_us is not None:
            if packet.is_keyframe and media_us >= self.from_us:
                self.first_us = media_us
            else:
                self._saw(media_us)
                return False
        elif self.first_us is not None and media_us < self.first_us:
            self._saw(media_us)
        if (
            self.to_us is not None
            and self.end_us is None
            and packet.is_keyframe
            and media_us >= self.to_us
        ):
            # Read on: pictures that are shown before this one may stand behind it.
            self.end_us = media_us
        return True

    def _saw(self, media_us: int) -> None:
        """A picture of the chunk before."""
        if self.first_us is None or media_us < self.first_us:
            self.before_us = max(media_us, self.before_us or media_us)


def _decode(
    container: InputContainer,
    stream: VideoStream,
    stats: ReadStats,
    wanted: Callable[[Packet[VideoStream]], bool] = lambda _: True,
) -> Iterator[VideoFrame]:
    """Pictures in the order in which they are shown. A packet that is broken is counted."""
    packets = container.demux(stream)
    period = _period(stream) if _is_counted(container, stream) else None
    count = 0
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            stats.cut_short = _words(error)
            return
        if packet is None:
            return
        if packet.size and not wanted(packet):
            continue
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            stats.corrupt += 1
            continue
        for frame in frames:
            if period is not None:
                frame.pts, count = round(count * period), count + 1
            elif frame.pts is None and frame.dts is None:
                continue
            yield frame


def _period(stream: VideoStream) -> Fraction | None:
    """From one picture to the next, in units of the stream's time base."""
    if not stream.average_rate or not stream.time_base:
        return None
    return 1 / (stream.average_rate * stream.time_base)


def _media_us(item: VideoFrame | Packet[VideoStream]) -> int:
    stamp = item.pts if item.pts is not None else item.dts
    if stamp is None or item.time_base is None:
        return 0
    return round(stamp * item.time_base * S)


def media_us(frame: VideoFrame) -> int:
    """Time of the picture in its file, microseconds."""
    return _media_us(frame)


def _created_us(tags: dict[str, str]) -> int | None:
    try:
        created = datetime.fromisoformat(tags["creation_time"])
    except (KeyError, ValueError):
        return None
    if created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    created_us = round(created.timestamp() * S)
    return created_us if created_us > 0 else None  # 1904 and 1970 are "unknown"


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
