"""Joins segments of one camera into one MP4, packet by packet, without re-encoding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error

from cluster.clips.coverage import GAP_US, Span, gaps_between
from cluster.core.files import digest
from pipelines.errors import ConflictError, UnavailableError

MICROSECOND = Fraction(1, 1_000_000)
OUTPUT_OPTIONS = {
    # The index comes before the media data, so that players can start and seek at once.
    "movflags": "faststart",
    # The first is the clock of the segments, so that frames keep their microseconds. The second is
    # the unit of the edit list, which delays the audio track.
    "video_track_timescale": str(MICROSECOND.denominator),
    "movie_timescale": str(MICROSECOND.denominator),
}
# libav tags H.265 in MP4 as hev1. Browsers and Apple's players need hvc1.
_TAGS = {"hevc": "hvc1"}
_LONG_AGO = -(2**62)


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """What packets must have in common to share a track: codec, shape, and parameter sets."""

    codec: str
    shape: tuple[int, ...]
    extradata: bytes


@dataclass(frozen=True, slots=True)
class Stitched:
    """A finished file.

    Attributes:
        from_us: capture time of its first frame, UTC microseconds; time 0 of the file.
        to_us: end of its last frame, taken to last as long as the one before it, UTC microseconds.
        gaps: where nothing was recorded; the file freezes the last frame before a gap.
        codec: video codec, as libav names it.
        width, height: pixels.
        audio: whether there is an audio track with packets.
        size: bytes.
        sha256: of the whole file, hexadecimal.
    """

    path: Path
    from_us: int
    to_us: int
    gaps: tuple[Span, ...]
    frames: int
    codec: str
    width: int
    height: int
    audio: bool
    size: int
    sha256: str


def video_format(path: Path) -> StreamFormat:
    """The video format of a segment. Raises UnavailableError: the file cannot be read."""
    with _reading(path) as container:
        return _format_of(container.streams.video[0])


class Stitcher:
    """Writes one file with the frames from the key frame at or before `from_us` up to `to_us`.

    Not thread-safe; every call blocks. Used as a context manager, it leaves no file unless `close`
    succeeded.

    Args:
        path: of the file; an existing file is replaced.
        from_us, to_us: capture times, UTC microseconds; `to_us` is exclusive.
        audio: a segment whose audio determines the format of the track; None: no audio.
    """

    def __init__(self, path: Path, from_us: int, to_us: int, audio: Path | None = None) -> None:
        self._path = path
        self._from_us, self._to_us = from_us, to_us
        self._audio_source = audio
        self._output: Any = None
        self._video: Any = None
        self._audio_stream: Any = None
        self._video_format: StreamFormat | None = None
        self._audio_format: StreamFormat | None = None
        self._base_us = 0
        self._times: list[int] = []
        self._last_us = {"video": _LONG_AGO, "audio": _LONG_AGO}
        self._audio_packets = 0
        self._done = False

    def __enter__(self) -> Stitcher:
        return self

    def __exit__(self, *_: object) -> None:
        if self._done:
            return
        try:
            self._close_output()
        finally:
            self._path.unlink(missing_ok=True)

    def add(self, file: Path, origin_us: int) -> int:
        """Append the frames and audio of the next segment that lie in the range.

        Args:
            origin_us: time 0 of the segment's file, UTC microseconds.

        Returns:
            The number of frames taken.

        Raises:
            ConflictError: the video format differs from that of earlier segments.
            UnavailableError: the segment cannot be read, or the file cannot be written.
        """
        enter_us = self._entry(file, origin_us)
        if enter_us is None:
            return 0
        before = len(self._times)
        with _reading(file) as container:
            video = container.streams.video[0]
            self._prepare(video, enter_us)
            streams = [video, *self._matching_audio(container)]
            ended: set[int] = set()
            for packet in container.demux(*streams):
                if packet.dts is None or packet.pts is None:
                    continue  # the demuxer's end-of-stream packet
                shown_us, decoded_us = _times(packet, origin_us)
                if decoded_us >= self._to_us:
                    ended.add(packet.stream.index)
                    if len(ended) == len(streams):
                        break
                elif packet.stream.type == "audio":
                    self._take_audio(packet, shown_us, decoded_us)
                else:
                    self._take_frame(packet, shown_us, decoded_us, enter_us)
        return len(self._times) - before

    def close(self) -> Stitched | None:
        """Finish the file. Without any frame, return None; there is no file then.

        Raises:
            UnavailableError: the file cannot be written.
        """
        if not self._times or self._video_format is None:
            return None
        self._close_output()
        with _writing():
            size, sha256 = digest(self._path)
        self._done = True
        times = sorted(self._times)
        spans = _spans(times)
        width, height = self._video_format.shape
        return Stitched(
            path=self._path,
            from_us=spans[0].from_us,
            to_us=spans[-1].to_us,
            gaps=tuple(gaps_between(spans)),
            frames=len(times),
            codec=self._video_format.codec,
            width=width,
            height=height,
            audio=self._audio_packets > 0,
            size=size,
            sha256=sha256,
        )

    def _entry(self, file: Path, origin_us: int) -> int | None:
        """Capture time of the key frame to start with: the last one at or before the range, or, if
        there are frames already, the first one after them. None: no frame is needed."""
        found = None
        with _reading(file) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.dts is None or packet.pts is None or not packet.is_keyframe:
                    continue
                shown_us, decoded_us = _times(packet, origin_us)
                if decoded_us <= self._last_us["video"]:
                    continue
                if shown_us >= self._to_us:
                    break
                if self._times:
                    return shown_us
                if found is not None and shown_us > self._from_us:
                    break
                found = shown_us
        return found

    def _prepare(self, video: Any, enter_us: int) -> None:
        """Open the output with the first segment's format; reject a segment with another one."""
        form = _format_of(video)
        if self._video_format is None:
            self._video_format, self._base_us = form, enter_us
            with _writing():
                self._path.touch()  # the muxer would report a bad path only at the first packet
                self._output = av.open(
                    str(self._path), "w", format="mp4", options=dict(OUTPUT_OPTIONS)
                )
                self._video = self._output.add_stream_from_template(video, opaque=True)
                if tag := _TAGS.get(form.codec):
                    self._video.codec_context.codec_tag = tag
                self._prepare_audio()
        elif form != self._video_format:
            raise ConflictError("the camera changed its video format.")

    def _prepare_audio(self) -> None:
        if self._audio_source is None:
            return
        with _reading(self._audio_source) as container:
            if container.streams.audio:
                audio = container.streams.audio[0]
                self._audio_format = _format_of(audio)
                self._audio_stream = self._output.add_stream_from_template(audio, opaque=True)

    def _matching_audio(self, container: Any) -> list[Any]:
        return [
            audio
            for audio in container.streams.audio[:1]
            if _format_of(audio) == self._audio_format
        ]

    def _take_frame(self, packet: Any, shown_us: int, decoded_us: int, enter_us: int) -> None:
        # A frame decoded after the first key frame but shown before it refers to frames that are
        # not in the file.
        if shown_us >= enter_us and decoded_us > self._last_us["video"]:
            self._take(packet, self._video, shown_us, decoded_us)
            self._times.append(shown_us)

    def _take_audio(self, packet: Any, shown_us: int, decoded_us: int) -> None:
        later = decoded_us > self._last_us["audio"]
        if later and self._base_us <= shown_us < self._to_us:
            self._take(packet, self._audio_stream, shown_us, decoded_us)
            self._audio_packets += 1

    def _take(self, packet: Any, stream: Any, shown_us: int, decoded_us: int) -> None:
        kind = packet.stream.type
        duration_us = round((packet.duration or 0) * packet.time_base / MICROSECOND)
        packet.time_base = MICROSECOND
        packet.pts, packet.dts = shown_us - self._base_us, decoded_us - self._base_us
        packet.duration = duration_us
        packet.stream = stream
        with _writing():
            self._output.mux(packet)
        self._last_us[kind] = decoded_us

    def _close_output(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            with _writing():
                output.close()


def _spans(times: list[int]) -> list[Span]:
    """What the frames cover. Each lasts until the next, or as long as the one before it.

    Args:
        times: presentation times, ascending; at least one.
    """
    spans = [Span(times[0], times[0])]
    step_us = 0
    for before, after in pairwise(times):
        if after - before <= GAP_US:
            step_us = after - before
            spans[-1] = Span(spans[-1].from_us, after)
        else:
            spans[-1] = Span(spans[-1].from_us, before + step_us)
            spans.append(Span(after, after))
    spans[-1] = Span(spans[-1].from_us, spans[-1].to_us + step_us)
    return spans


def _times(packet: Any, origin_us: int) -> tuple[int, int]:
    """Presentation and decoding time of a packet, UTC microseconds."""
    return (
        origin_us + round(packet.pts * packet.time_base / MICROSECOND),
        origin_us + round(packet.dts * packet.time_base / MICROSECOND),
    )


def _format_of(stream: Any) -> StreamFormat:
    context = stream.codec_context
    shape = (
        (context.width, context.height)
        if stream.type == "video"
        else (context.sample_rate, context.channels)
    )
    return StreamFormat(context.name, shape, bytes(context.extradata or b""))


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """An opened segment. Raises UnavailableError."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnavailableError(f"the segment {path.name} holds no video.")
            yield container
    except (OSError, av.error.FFmpegError) as error:
        raise UnavailableError(
            f"the segment {path.name} cannot be read: {type(error).__name__}."
        ) from error


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise UnavailableError(
            f"the file cannot be written: {type(error).__name__}.",
            hint="Check that the disk of data_dir is mounted and has free space.",
        ) from error
