"""Decodes video files: frames in presentation order, from any key frame on."""

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

from cluster.batch.orientation import UPRIGHT, Orientation
from cluster.batch.remote import BrokenVideoError, open_file
from pipelines.imaging import I420
from pipelines.masking import MaskPainter

US_PER_S = 1_000_000
# The previous frame decides whether the first frame of a chunk is due. Seeking this far ahead of
# the chunk passes that frame.
LEAD_US = 1 * US_PER_S
# Leads for `frames_from`, tried in turn. Some containers seek by decoding time, which is slightly
# before the presentation time.
_LEADS_US = (LEAD_US, 5 * US_PER_S, 30 * US_PER_S)
# 8-bit 4:2:0 as separate planes: needs no conversion.
_PLANAR = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Metadata of a file.

    Attributes:
        first_us: time of the first frame in the file, microseconds.
        duration_us: microseconds; 0 if unknown.
        created_us: the `creation_time` tag, UTC microseconds.
        whole: whether it can only be read from the start.
        turned: whether its frames are stored otherwise than they are shown.
    """

    first_us: int
    duration_us: int
    created_us: int | None
    whole: bool
    turned: bool = False


@dataclass(slots=True)
class ReadStats:
    """Statistics of reading.

    Attributes:
        frames: number of frames of the chunk.
        last_us: time of the last of them in the file, microseconds; None if there is none.
        corrupt: packets that could not be decoded.
        cut_short: why reading ended before the end of the file; empty if it did not.
    """

    frames: int = 0
    last_us: int | None = None
    corrupt: int = 0
    cut_short: str = ""


@contextmanager
def open_video(url: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream.

    Args:
        url: path of a local file, else an fsspec URL.

    Raises:
        BrokenVideoError: the file does not exist, or holds no readable video.
        UnavailableError: the storage does not answer, possibly in the middle of the file.
    """
    with open_file(url) as file:
        try:
            options = {"fflags": "+genpts"}
            with av.open(file, "r", metadata_errors="ignore", options=options) as container:
                if not container.streams.video:
                    raise BrokenVideoError("the file holds no video.")
                stream = container.streams.video[0]
                # A worker has one core for decoding. Threads would only hold more frames.
                stream.thread_type = "NONE"
                yield container, stream
        except (av.error.FFmpegError, EOFError) as error:
            raise BrokenVideoError(f"the file cannot be read: {_reason(error)}.") from error


def probe(url: str) -> VideoFacts:
    """Metadata of a file. Decodes its first frame to check that it can be decoded.

    Raises:
        BrokenVideoError: the file is not a video that can be decoded.
        UnavailableError: the storage does not answer.
    """
    with open_video(url) as (container, stream):
        stats = ReadStats()
        first = next(_decode(container, stream, stats), None)
        if first is None:
            raise BrokenVideoError("none of its frames can be decoded.")
        duration_us = container.duration or 0  # AV_TIME_BASE: microseconds
        if stream.duration and stream.time_base:
            duration_us = round(stream.duration * stream.time_base * US_PER_S)
        return VideoFacts(
            first_us=_media_us(first),
            duration_us=duration_us,
            created_us=_created_us(container.metadata),
            whole=_is_counted(container, stream),
            turned=Orientation.of(first) != UPRIGHT,
        )


def chunk_frames(
    url: str, from_us: int | None, to_us: int | None, stats: ReadStats
) -> Iterator[tuple[int | None, VideoFrame]]:
    """Frames of one chunk, each with the time of the previous frame (None: unknown).

    A chunk runs from the first key frame at or after `from_us` to the first key frame at or after
    `to_us`, in presentation order. So chunks with common borders neither share nor miss a frame,
    wherever the key frames are, and nothing has to index them first. Times are microseconds in the
    file.

    Args:
        url: as for `open_video`.
        from_us: None: from the start.
        to_us: None: to the end.
        stats: updated while reading.

    Raises:
        BrokenVideoError: the file cannot be opened. A file that breaks off ends there, and
            `stats.cut_short` says why.
        UnavailableError: the storage does not answer.
    """
    with open_video(url) as (container, stream):
        reader = _ChunkReader(from_us, to_us)
        if from_us is not None:
            _seek(container, stream, from_us - LEAD_US)
        yield from reader.read(container, stream, stats)


def frames_from(url: str, from_us: int, stats: ReadStats) -> Iterator[VideoFrame]:
    """Frames from the key frame before `from_us` on. `from_us`: time in the file, microseconds.

    Raises:
        BrokenVideoError: the file cannot be opened.
        UnavailableError: the storage does not answer.
    """
    for lead_us in (*_LEADS_US, from_us):
        with open_video(url) as (container, stream):
            _seek(container, stream, from_us - lead_us)
            start = _StartAtKeyFrame()
            frames = _decode(container, stream, stats, start)
            first = next(frames, None)
            # Without an index of key frames, a container may seek behind the one we need.
            if first is not None and (_media_us(first) <= from_us or lead_us >= from_us):
                yield first
                yield from frames
                return


@dataclass(slots=True)
class _StartAtKeyFrame:
    """Skips packets before the first key frame."""

    begun: bool = False

    def __call__(self, packet: Packet[VideoStream]) -> bool:
        self.begun = self.begun or packet.is_keyframe
        return self.begun


def _is_counted(container: InputContainer, stream: VideoStream) -> bool:
    """Whether times come from counting frames: AVI stores no presentation times, and with B-frames
    storage order is not presentation order."""
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _seek(container: InputContainer, stream: VideoStream, to_us: int) -> None:
    """Seek to a key frame before `to_us`, or as near as the container allows."""
    if to_us <= 0 or stream.time_base is None or _is_counted(container, stream):
        return
    try:
        container.seek(int(to_us / US_PER_S / stream.time_base), stream=stream, backward=True)
    except av.error.FFmpegError:
        # Without an index: read from the start. The caller checks times anyway.
        container.seek(0)


def planes_of(frame: VideoFrame, painter: MaskPainter) -> I420:
    """Planes of a frame, upright and with masks painted: uint8, Y (height, width), U and V at half
    size, rounded up.

    Without masks they may be views into the frame; otherwise copies, because the decoder still
    needs its own. Formats other than 8-bit 4:2:0 are converted first.
    """
    orientation = Orientation.of(frame)
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="yuv420p")
    width, height = frame.width, frame.height
    half = ((width + 1) // 2, (height + 1) // 2)
    y, u, v = (
        orientation.applied(
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:rows, :columns]
        )
        for plane, (columns, rows) in zip(frame.planes, ((width, height), half, half), strict=True)
    )
    if not painter.masks:
        return I420(y, u, v)
    planes = I420(y.copy(), u.copy(), v.copy())
    painter.paint(planes)
    return planes


@dataclass(slots=True)
class _ChunkReader:
    """Follows one chunk through packets and frames. Times are microseconds in the file.

    Attributes:
        first_us: the chunk's first key frame, once its packet arrived.
        end_us: the next chunk's first key frame, once its packet arrived.
        previous_us: the latest frame before the next one.
    """

    from_us: int | None
    to_us: int | None
    first_us: int | None = None
    end_us: int | None = None
    previous_us: int | None = None

    def read(
        self, container: InputContainer, stream: VideoStream, stats: ReadStats
    ) -> Iterator[tuple[int | None, VideoFrame]]:
        for frame in _decode(container, stream, stats, self._feeds_decoder):
            media_us = _media_us(frame)
            if self.first_us is not None and media_us < self.first_us:
                continue  # shown before the key frame: belongs to the previous chunk
            if self.end_us is not None and media_us >= self.end_us:
                return
            stats.frames, stats.last_us = stats.frames + 1, media_us
            yield self.previous_us, frame
            self.previous_us = media_us

    def _feeds_decoder(self, packet: Packet[VideoStream]) -> bool:
        """Whether the packet goes to the decoder."""
        media_us = _media_us(packet)
        if self.first_us is None and self.from_us is not None:
            if packet.is_keyframe and media_us >= self.from_us:
                self.first_us = media_us
            else:
                self._note_previous(media_us)
                return False
        elif self.first_us is not None and media_us < self.first_us:
            self._note_previous(media_us)
        if (
            self.to_us is not None
            and self.end_us is None
            and packet.is_keyframe
            and media_us >= self.to_us
        ):
            # Read on: frames that are shown before this one may be stored after it.
            self.end_us = media_us
        return True

    def _note_previous(self, media_us: int) -> None:
        """Note a frame of the previous chunk."""
        if self.first_us is None or media_us < self.first_us:
            self.previous_us = max(media_us, self.previous_us or media_us)


def _decode(
    container: InputContainer,
    stream: VideoStream,
    stats: ReadStats,
    feeds_decoder: Callable[[Packet[VideoStream]], bool] = lambda _: True,
) -> Iterator[VideoFrame]:
    """Frames in presentation order. Counts packets that do not decode."""
    packets = container.demux(stream)
    period = _period(stream) if _is_counted(container, stream) else None
    count = 0
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            stats.cut_short = _reason(error)
            return
        if packet is None:
            return
        if packet.size and not feeds_decoder(packet):
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
    """Frame interval in units of the stream's time base; None if unknown."""
    if not stream.average_rate or not stream.time_base:
        return None
    return 1 / (stream.average_rate * stream.time_base)


def _media_us(item: VideoFrame | Packet[VideoStream]) -> int:
    stamp = item.pts if item.pts is not None else item.dts
    if stamp is None or item.time_base is None:
        return 0
    return round(stamp * item.time_base * US_PER_S)


def media_us(frame: VideoFrame) -> int:
    """Time of a frame in its file, microseconds; 0 if it has none."""
    return _media_us(frame)


def _created_us(tags: dict[str, str]) -> int | None:
    try:
        created = datetime.fromisoformat(tags["creation_time"])
    except (KeyError, ValueError):
        return None
    if created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    created_us = round(created.timestamp() * US_PER_S)
    return created_us if created_us > 0 else None  # 1904 and 1970 are "unknown"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
