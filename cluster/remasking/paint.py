"""Paints masks into finished files: recordings, clips, pictures. Everything here blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import simplejpeg
from av.video.frame import VideoFrame

from cluster.clips.clips import ClipFile
from cluster.clips.playable import encode_for_browsers
from cluster.clips.stitch import Stitched
from cluster.media.planes import planes_of
from cluster.media.transcode import DEFAULT_FPS, FrameDecoder, FrameEncoder
from cluster.recording.audio import NO_AUDIO, AudioUnit, plan
from cluster.recording.segment import SegmentFile, SegmentWriter, VideoFormat, VideoUnit
from cluster.recording.tags import Tags
from pipelines.crops import MARGIN
from pipelines.domain import Polygon, Segment
from pipelines.errors import InputError
from pipelines.imaging import crop_jpeg
from pipelines.masking import MaskPainter

# Frames of one camera are at most 8K; as RGB they take 100 MB.
MAX_PIXELS = 40_000_000
# The encoder writes its rate into the parameter sets, and files are joined in exports and clips
# only where those are the same: what each file says of its rate differs by the jitter of its
# frames. It is approximate in any case, and key frames come by time.
RATE = Fraction(DEFAULT_FPS)
# Of the frame: crops begin at whole pixels, and frames have a hundred lines or more.
LEAST_MARGIN = 0.01

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PaintedFile:
    """A recording with masks.

    Attributes:
        lost: frames that could not be decoded, and that it does not have.
    """

    file: SegmentFile
    lost: int


def paint_recording(
    source: Path, segment: Segment, target: Path, painter: MaskPainter
) -> PaintedFile:
    """The frames of a recording at the same times, with masks, as H.264; the sound is copied.

    Args:
        source: its file; `segment`: its row.
        target: of the new file.

    Raises:
        InputError: nothing of it can be decoded.
        CameraError: its codec cannot be decoded here.
        UnavailableError: the new file cannot be written.
    """
    try:
        with av.open(str(source)) as container:
            return _paint_all(container, segment, target, painter)
    except av.error.FFmpegError as error:
        raise InputError(f"the recording cannot be read: {error.strerror}.") from error


def _paint_all(container: Any, segment: Segment, target: Path, painter: MaskPainter) -> PaintedFile:
    video, tracks = container.streams.video[0], container.streams.audio[:1]
    sound = plan(tracks[0]) if tracks else NO_AUDIO
    decoder, encoder = FrameDecoder(video), FrameEncoder(RATE, lambda: painter)
    writer: SegmentWriter | None = None
    last_us, written = -1, 0
    for packet in container.demux(video, *tracks):
        if packet.stream.type == "audio":
            unit = _sound(packet, segment.origin_us)
            if writer is not None and unit is not None:
                writer.write_audio(unit)
            continue
        for frame, size in _painted(decoder.decode(packet), encoder, segment.origin_us):
            if writer is None:
                tags = Tags(masked=True, note=segment.note)
                writer = SegmentWriter(target, VideoFormat("h264", *size, sound), tags)
            if frame.capture_us > last_us:
                writer.write(frame)
                last_us, written = frame.capture_us, written + 1
    file = writer.close() if writer is not None else None
    if file is None:
        raise InputError("no frame of the recording can be decoded.")
    return PaintedFile(file, max(0, segment.frames - written))


def _painted(
    frames: list[VideoFrame], encoder: FrameEncoder, origin_us: int
) -> Iterator[tuple[VideoUnit, tuple[int, int]]]:
    """Encoded frames with their sizes."""
    for frame in frames:
        if frame.pts is None or frame.time_base is None:
            continue
        at_us = origin_us + round(frame.pts * frame.time_base * 1_000_000)
        for done in encoder.encode(frame):
            yield VideoUnit(done.data, done.key_frame, at_us, at_us), (done.width, done.height)


def _sound(packet: Any, origin_us: int) -> AudioUnit | None:
    if packet.pts is None or not packet.size or packet.time_base is None:
        return None
    at_us = origin_us + round(packet.pts * packet.time_base * 1_000_000)
    rate = packet.stream.codec_context.sample_rate
    samples = round((packet.duration or 0) * packet.time_base * Fraction(rate))
    return AudioUnit(bytes(packet), at_us, samples)


def paint_clip(source: Path, clip: ClipFile, target: Path, painter: MaskPainter) -> Stitched:
    """The frames of a clip at the same times, with masks.

    Raises:
        UnavailableError: it cannot be decoded, or the new file cannot be written.
    """
    return encode_for_browsers(
        clip.at(source), target, paint=lambda frame, _at_us: painter.paint(planes_of(frame))
    )


def paint_jpeg(jpeg: bytes, painter: MaskPainter) -> bytes:
    """A picture of the whole frame, with masks.

    Raises:
        InputError: it cannot be decoded, or is too large.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        if height * width > MAX_PIXELS:
            raise InputError(f"a picture of {width}x{height} is too large.")
        pixels = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    except ValueError as error:
        raise InputError("the picture cannot be decoded.") from error
    frame = VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
    frame.make_writable()
    painter.paint(planes_of(frame))
    return crop_jpeg(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


def touches(box: Box, masks: tuple[Polygon, ...]) -> bool:
    """Whether a mask may hide a part of an object's picture. Errs towards yes: what is compared
    are bounding boxes, and pictures have a margin, which is taken twice.

    Args:
        box: of the object: x1, y1, x2, y2, normalized.
    """
    dx = max(LEAST_MARGIN, 2 * MARGIN * (box[2] - box[0]))
    dy = max(LEAST_MARGIN, 2 * MARGIN * (box[3] - box[1]))
    x1, y1, x2, y2 = box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy
    for mask in masks:
        xs, ys = [x for x, _ in mask], [y for _, y in mask]
        if min(xs) <= x2 and max(xs) >= x1 and min(ys) <= y2 and max(ys) >= y1:
            return True
    return False
