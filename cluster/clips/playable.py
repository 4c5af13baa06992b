"""A clip that every browser plays: H.265, which only some can, is encoded anew as H.264.

The recording stays what the camera sent, and so does an export of it; a clip is to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import av.error

from cluster.clips.stitch import MICROSECOND, OUTPUT_OPTIONS, Stitched
from cluster.core.files import digest
from cluster.media.transcode import DEFAULT_FPS, KEY_FRAME_INTERVAL_S
from pipelines.errors import UnavailableError

PLAYED_EVERYWHERE = frozenset({"h264"})

# Measured on one core, ten seconds of a street at 1080p25, decoding being the larger part of it:
# x264's ultrafast takes 0.41 of the duration, superfast 0.54, veryfast 0.71; the files are 6.2, 4.8
# and 3.0 MB for 1.3 MB of H.265. No B-frames: what is shown first is shown at 0, as in the source.
_ENCODER = {"preset": "superfast", "crf": "23", "bf": "0", "threads": "1"}


def encode_for_browsers(made: Stitched, path: Path) -> Stitched:
    """The same pictures at the same times as H.264, and the same sound. Blocks.

    Args:
        path: of the new file.

    Raises:
        UnavailableError: a picture cannot be decoded, or the file cannot be written.
    """
    width, height = made.width & ~1, made.height & ~1  # 4:2:0 needs even sizes
    try:
        with _open(made.path, path) as (source, output):
            pictures, sounds = source.streams.video[0], source.streams.audio[:1]
            encoder = _add_pictures(output, width, height)
            copies = {s.index: output.add_stream_from_template(s, opaque=True) for s in sounds}
            for packet in source.demux(pictures, *sounds):
                if packet.stream.type == "video":
                    for frame in _decoded(packet):
                        output.mux(_encode(encoder, frame))
                elif packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    output.mux(packet)
            output.mux(encoder.encode(None))
        size, sha256 = digest(path)
    except (OSError, av.error.FFmpegError) as error:
        raise UnavailableError(
            f"the clip cannot be encoded for browsers: {type(error).__name__}.",
            hint="See that the disk of data_dir is there and has room.",
        ) from error
    return replace(
        made, path=path, codec="h264", width=width, height=height, size=size, sha256=sha256
    )


@contextmanager
def _open(source: Path, target: Path) -> Iterator[tuple[Any, Any]]:
    with (
        av.open(str(source)) as container,
        av.open(str(target), "w", format="mp4", options=dict(OUTPUT_OPTIONS)) as output,
    ):
        yield container, output


def _add_pictures(output: Any, width: int, height: int) -> Any:
    encoder = output.add_stream("libx264", rate=DEFAULT_FPS, options=dict(_ENCODER))
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuv420p"
    encoder.codec_context.time_base = MICROSECOND
    encoder.codec_context.gop_size = round(DEFAULT_FPS * KEY_FRAME_INTERVAL_S)
    return encoder


def _decoded(packet: Any) -> Iterable[Any]:
    try:
        frames: Iterable[Any] = packet.decode()
    except av.error.InvalidDataError:
        return ()  # a damaged picture is missing in the clip, as it is in the recording
    return frames


def _encode(encoder: Any, frame: Any) -> Any:
    picture = frame.reformat(
        width=encoder.width, height=encoder.height, format="yuv420p", dst_color_range="MPEG"
    )
    picture.pts = round(frame.pts * frame.time_base / MICROSECOND)
    picture.time_base = MICROSECOND
    picture.pict_type = av.video.frame.PictureType.NONE  # the encoder decides on key frames
    return encoder.encode(picture)
