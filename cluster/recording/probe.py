"""What a recorded file contains, read from the file itself."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from cluster.core.files import digest
from cluster.recording.segment import CODECS, SegmentFile, VideoFormat
from cluster.recording.tags import NO_TAGS, Tags
from pipelines.errors import InputError


@dataclass(frozen=True, slots=True)
class Probe:
    """The contents of a file. Times are microseconds in the file.

    Attributes:
        first_us: presentation time of the frame that is decoded first.
        start_us: presentation time of the first frame.
        end_us: end of the last frame, taken to last as long as the one before it.
        audio: audio codec; None if there is no audio.
        tags: the file's tags; None if another program wrote it.
    """

    video: VideoFormat
    first_us: int
    start_us: int
    end_us: int
    frames: int
    audio: str | None
    tags: Tags | None


def probe(path: Path) -> Probe:
    """Read a file without decoding it. Blocks.

    Raises:
        InputError: the file holds no playable H.264 or H.265.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path.name} holds no video.")
            stream = container.streams.video[0]
            context = stream.codec_context
            video = VideoFormat(context.name, context.width, context.height)
            tracks = container.streams.audio
            audio = tracks[0].codec_context.name if tracks else None
            tags = Tags.decode(container.metadata.get("comment", ""))
            times = [
                round(packet.pts * Fraction(packet.time_base) * 1_000_000)
                for packet in container.demux(stream)
                if packet.size and packet.pts is not None
            ]
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error
    if video.codec not in CODECS or not times:
        raise InputError(f"{path.name} holds no playable H.264 or H.265.")
    first_us = times[0]
    times.sort()
    step_us = times[-1] - times[-2] if len(times) > 1 else 0
    return Probe(video, first_us, times[0], times[-1] + step_us, len(times), audio, tags)


def segment_file(path: Path, found: Probe, origin_us: int) -> SegmentFile:
    """The file placed in time. Blocks.

    Args:
        origin_us: time 0 of the file, UTC microseconds.

    Raises:
        OSError: the file cannot be read.
    """
    size, sha256 = digest(path)
    return SegmentFile(
        path=path,
        video=found.video,
        origin_us=origin_us,
        start_us=origin_us + found.start_us,
        end_us=origin_us + found.end_us,
        frames=found.frames,
        size=size,
        sha256=sha256,
        audio=found.audio,
        tags=found.tags or NO_TAGS,
    )
