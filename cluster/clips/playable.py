"""Makes clips playable in every browser: H.265, which only some support, becomes H.264.

Recordings and exports keep the camera's own encoding. Clips are for viewing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

# The one video codec that all browsers decode.
UNIVERSAL_CODECS = frozenset({"h264"})

# Measured on one core, ten seconds of a street at 1080p25, most of it decoding: x264's ultrafast
# takes 0.41 of the duration, superfast 0.54, veryfast 0.71. The files are 6.2, 4.8 and 3.0 MB for
# 1.3 MB of H.265. Without B-frames the first frame is shown at time 0, as in the source.
_ENCODER = {"preset": "superfast", "crf": "23", "bf": "0", "threads": "1"}

Paint = Callable[[Any, int], None]
"""Called with each frame, yuv420p in memory of its own, and its capture time, UTC microseconds."""


def encode_for_browsers(
    clip: Stitched, path: Path, *, paint: Paint | None = None, keep_audio: bool = True
) -> Stitched:
    """The same frames at the same times as H.264, with the audio copied. Blocks.

    Args:
        path: of the new file.
        paint: changes frames before they are encoded; whatever it raises ends the encoding.
        keep_audio: whether the new file has the audio of the old.

    Raises:
        UnavailableError: a frame cannot be decoded, or the file cannot be written.
    """
    width, height = clip.width & ~1, clip.height & ~1  # 4:2:0 needs even sizes
    frames = 0
    try:
        with _open(clip.path, path) as (source, output):
            video = source.streams.video[0]
            audio_streams = source.streams.audio[:1] if keep_audio else []
            encoder = _add_video(output, width, height)
            copies = {
                s.index: output.add_stream_from_template(s, opaque=True) for s in audio_streams
            }
            for packet in source.demux(video, *audio_streams):
                if packet.stream.type == "video":
                    for frame in _decoded(packet):
                        prepared = _prepared(encoder, frame)
                        if paint is not None:
                            # The memory may be the decoder's, which predicts frames from it.
                            prepared.make_writable()
                            paint(prepared, clip.from_us + prepared.pts)
                        output.mux(encoder.encode(prepared))
                        frames += 1
                elif packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    output.mux(packet)
            output.mux(encoder.encode(None))
        size, sha256 = digest(path)
    except (OSError, av.error.FFmpegError) as error:
        raise UnavailableError(
            f"the clip cannot be encoded for browsers: {type(error).__name__}.",
            hint="Check that the disk of data_dir is mounted and has free space.",
        ) from error
    return replace(
        clip,
        path=path,
        frames=frames,
        codec="h264",
        width=width,
        height=height,
        audio=clip.audio and keep_audio,
        size=size,
        sha256=sha256,
    )


@contextmanager
def _open(source: Path, target: Path) -> Iterator[tuple[Any, Any]]:
    with (
        av.open(str(source)) as container,
        av.open(str(target), "w", format="mp4", options=dict(OUTPUT_OPTIONS)) as output,
    ):
        yield container, output


def _add_video(output: Any, width: int, height: int) -> Any:
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
        return ()  # a damaged frame is left out, as it is in the recording
    return frames


def _prepared(encoder: Any, frame: Any) -> Any:
    prepared = frame.reformat(
        width=encoder.width, height=encoder.height, format="yuv420p", dst_color_range="MPEG"
    )
    prepared.pts = round(frame.pts * frame.time_base / MICROSECOND)
    prepared.time_base = MICROSECOND
    prepared.pict_type = av.video.frame.PictureType.NONE  # the encoder places key frames
    return prepared
