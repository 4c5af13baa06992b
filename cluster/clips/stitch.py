"""Segments of one camera into one MP4, packet by packet: nothing is encoded again."""

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

from cluster.clips.timeline import GAP_US, Span, gaps_within
from cluster.core.files import digest
from pipelines.errors import ConflictError, UnavailableError

MICROSECOND = Fraction(1, 1_000_000)
OUTPUT_OPTIONS = {
    # The index stands in front of the pictures, so that a player can start and jump at once.
    "movflags": "faststart",
    # The clock of the segments: every picture keeps its time to the microsecond. The other one is
    # that in which sound is told how much later than the pictures it begins.
    "video_track_timescale": str(MICROSECOND.denominator),
    "movie_timescale": str(MICROSECOND.denominator),
}
# libav calls H.265 in MP4 hev1; browsers and Apple's players want the other of its two names.
_TAGS = {"hevc": "hvc1"}
_LONG_AGO = -(2**62)


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """What pictures or sounds must share to lie in one track: codec, shape, and parameter sets."""

    codec: str
    shape: tuple[int, ...]
    extradata: bytes


@dataclass(frozen=True, slots=True)
class Stitched:
    """A finished file.

    Attributes:
        from_us: capture time of its first picture, which is shown at time 0 of the file.
        to_us: when its last picture ends, taken to last as long as the one before it.
        gaps: where nothing was recorded; in the file the last picture before it stands still.
        codec: of its pictures, as libav names it.
        width, height: of its pictures, pixels.
        audio: whether there is sound in it.
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


def picture_format(path: Path) -> StreamFormat:
    """The format of a segment's pictures. Raises UnavailableError: the file cannot be read."""
    with _reading(path) as container:
        return _format_of(container.streams.video[0])


class Stitcher:
    """Writes one file of the pictures from the key frame at or before `from_us` up to `to_us`.

    Not thread-safe; every call blocks. As a context manager it leaves no file where `close` was
    not reached.

    Args:
        path: of the file; replaced if there.
        from_us, to_us: capture times, UTC microseconds; `to_us` is exclusive.
        sound: a segment whose sound gives the track its format; None: no sound.
    """

    def __init__(self, path: Path, from_us: int, to_us: int, sound: Path | None = None) -> None:
        self._path = path
        self._from_us, self._to_us = from_us, to_us
        self._sound = sound
        self._output: Any = None
        self._video: Any = None
        self._audio: Any = None
        self._video_format: StreamFormat | None = None
        self._audio_format: StreamFormat | None = None
        self._base_us = 0
        self._times: list[int] = []
        self._last_us = {"video": _LONG_AGO, "audio": _LONG_AGO}
        self._sounds = 0
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
        """Append what the next segment holds of the range.

        Args:
            origin_us: time 0 of the segment's file, UTC microseconds.

        Returns:
            How many of its pictures were taken.

        Raises:
            ConflictError: its pictures have another format than those before.
            UnavailableError: it cannot be read, or the file cannot be written.
        """
        enter_us = self._entry(file, origin_us)
        if enter_us is None:
            return 0
        before = len(self._times)
        with _reading(file) as container:
            video = container.streams.video[0]
            self._prepare(video, enter_us)
            streams = [video, *self._matching_sound(container)]
            ended: set[int] = set()
            for packet in container.demux(*streams):
                if packet.dts is None or packet.pts is None:
                    continue  # so the demuxer says that a stream has ended
                shown_us, decoded_us = _times(packet, origin_us)
                if decoded_us >= self._to_us:
                    ended.add(packet.stream.index)
                    if len(ended) == len(streams):
                        break
                elif packet.stream.type == "audio":
                    self._take_sound(packet, shown_us, decoded_us)
                else:
                    self._take_picture(packet, shown_us, decoded_us, enter_us)
        return len(self._times) - before

    def close(self) -> Stitched | None:
        """Finish the file; None, and no file, where no picture came.

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
        spans = _stretches(times)
        width, height = self._video_format.shape
        return Stitched(
            path=self._path,
            from_us=spans[0].from_us,
            to_us=spans[-1].to_us,
            gaps=tuple(gaps_within(spans)),
            frames=len(times),
            codec=self._video_format.codec,
            width=width,
            height=height,
            audio=self._sounds > 0,
            size=size,
            sha256=sha256,
        )

    def _entry(self, file: Path, origin_us: int) -> int | None:
        """Capture time of the key frame to start with: the last one at or before the range, or,
        where there are pictures already, the first one after them. None: no picture is wanted."""
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
        """Open the output with the first segment; refuse a later one that does not go with it."""
        form = _format_of(video)
        if self._video_format is None:
            self._video_format, self._base_us = form, enter_us
            with _writing():
                self._path.touch()  # the muxer would find out with the first packet
                self._output = av.open(
                    str(self._path), "w", format="mp4", options=dict(OUTPUT_OPTIONS)
                )
                self._video = self._output.add_stream_from_template(video, opaque=True)
                if tag := _TAGS.get(form.codec):
                    self._video.codec_context.codec_tag = tag
                self._prepare_sound()
        elif form != self._video_format:
            raise ConflictError("the camera changed the format of its pictures here.")

    def _prepare_sound(self) -> None:
        if self._sound is None:
            return
        with _reading(self._sound) as container:
            if container.streams.audio:
                sound = container.streams.audio[0]
                self._audio_format = _format_of(sound)
                self._audio = self._output.add_stream_from_template(sound, opaque=True)

    def _matching_sound(self, container: Any) -> list[Any]:
        return [
            sound
            for sound in container.streams.audio[:1]
            if _format_of(sound) == self._audio_format
        ]

    def _take_picture(self, packet: Any, shown_us: int, decoded_us: int, enter_us: int) -> None:
        # What is decoded after the first key frame but shown before it leans on pictures that are
        # not here.
        if shown_us >= enter_us and decoded_us > self._last_us["video"]:
            self._take(packet, self._video, shown_us, decoded_us)
            self._times.append(shown_us)

    def _take_sound(self, packet: Any, shown_us: int, decoded_us: int) -> None:
        later = decoded_us > self._last_us["audio"]
        if later and self._base_us <= shown_us < self._to_us:
            self._take(packet, self._audio, shown_us, decoded_us)
            self._sounds += 1

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


def _stretches(times: list[int]) -> list[Span]:
    """What pictures cover; each lasts until the next, or as long as the one before it.

    Args:
        times: when they are shown, in order; one at least.
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
    """When a packet is shown and decoded, UTC microseconds."""
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
    """An opened segment; a file of which nothing can be used is an error in words."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnavailableError(f"the segment {path.name} holds no pictures.")
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
            hint="See that the disk of data_dir is there and has room.",
        ) from error
