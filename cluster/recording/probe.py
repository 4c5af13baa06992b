"""What a recorded file holds, found out from the file itself."""

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
    """The video of a file. Times are microseconds in the file.

    Attributes:
        first_us: when the picture that is decoded first is shown.
        start_us: when the first picture is shown.
        end_us: when the last picture ends, taken to last as long as the one before it.
        audio: codec of the sound, None where there is none.
        tags: what the file says of itself, None where it is not ours.
    """

    video: VideoFormat
    first_us: int
    start_us: int
    end_us: int
    frames: int
    audio: str | None
    tags: Tags | None


def probe(path: Path) -> Probe:
    """Read a file through, without decoding. Blocking.

    Raises:
        InputError: it holds no H.264 or H.265 that plays.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path.name} holds no video.")
            stream = container.streams.video[0]
            context = stream.codec_context
            video = VideoFormat(context.name, context.width, context.height)
            sound = container.streams.audio
            audio = sound[0].codec_context.name if sound else None
            tags = Tags.decode(container.metadata.get("comment", ""))
            times = [
                round(packet.pts * Fraction(packet.time_base) * 1_000_000)
                for packet in container.demux(stream)
                if packet.size and packet.pts is not None
            ]
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error
    if video.codec not in CODECS or not times:
        raise InputError(f"{path.name} holds no H.264 or H.265 that plays.")
    first_us = times[0]
    times.sort()
    step_us = times[-1] - times[-2] if len(times) > 1 else 0
    return Probe(video, first_us, times[0], times[-1] + step_us, len(times), audio, tags)


def segment_file(path: Path, found: Probe, origin_us: int) -> SegmentFile:
    """The file with its place in time: `origin_us` is time 0 of the file. Blocking."""
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
