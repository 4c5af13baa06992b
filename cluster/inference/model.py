"""A detector that is loaded and ready: letterboxed frames in, detections in source pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cluster.core.settings import DetectorSettings
from cluster.inference.export import ExportCache
from cluster.inference.known_network import open_network
from cluster.inference.postprocess import RawDetections
from cluster.inference.runtime import Runtime, RuntimeOptions
from cluster.inference.runtimes import choose_runtime, open_runtime
from cluster.inference.weights import Weights, resolve_weights
from pipelines.domain import Detections, Frozen, Letterbox, LetterboxedFrame
from pipelines.errors import InputError, ModelError


class ModelInfo(Frozen):
    """What a detector runs.

    Attributes:
        name: file name of the weights.
        sha256: of the weights.
        runtime: openvino, tensorrt or torch.
        precision: in which it computes.
        input_size: width, height of the frames it takes, input pixels.
        labels: class names in the model's order.
        error: why the last model that was offered was refused; None after a success.
    """

    name: str
    sha256: str
    runtime: str
    precision: str
    input_size: tuple[int, int]
    labels: tuple[str, ...]
    error: str | None = None


class DetectionModel:
    """Weights in a runtime. `detect` blocks and may be called from `parallel` threads at once."""

    def __init__(
        self,
        weights: Weights,
        runtime_name: str,
        runtime: Runtime,
        labels: tuple[str, ...],
        input_size: tuple[int, int],
    ) -> None:
        self._runtime = runtime
        self._labels = labels
        self._input_size = input_size
        self.parallel = runtime.parallel
        self.max_batch = runtime.max_batch
        self.info = ModelInfo(
            name=weights.name,
            sha256=weights.sha256,
            runtime=runtime_name,
            precision=runtime.precision,
            input_size=input_size,
            labels=labels,
        )

    def check(self, frame: LetterboxedFrame) -> None:
        """Raises InputError where the frame was not letterboxed for this model."""
        if frame.letterbox.input != self._input_size:
            raise InputError(
                f"the frame is letterboxed to {frame.letterbox.input}, "
                f"but the detector takes {self._input_size}.",
                hint="Ask Detector.info() for input_size.",
            )

    def detect(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        """One result per frame, in their order, in pixels of each frame's source.

        Raises:
            InputError: a frame has another input size.
        """
        for frame in frames:
            self.check(frame)
        if not frames:
            return []
        # A batch of one stays a view of what came in: no copy of the pixels.
        batch = (
            frames[0].pixels[None]
            if len(frames) == 1
            else np.stack([frame.pixels for frame in frames])
        )
        raw = self._runtime.infer(batch)
        if len(raw) != len(frames):
            raise RuntimeError(f"{len(frames)} frames went in, {len(raw)} results came out")
        return [
            self._to_source(result, frame.letterbox)
            for result, frame in zip(raw, frames, strict=True)
        ]

    def _to_source(self, raw: RawDetections, letterbox: Letterbox) -> Detections:
        boxes = letterbox.to_source(raw.xyxy)
        # What lay wholly on the border has no size left after clipping.
        real = (boxes[:, 2] - boxes[:, 0] > 1.0) & (boxes[:, 3] - boxes[:, 1] > 1.0)
        return Detections(
            xyxy=boxes[real],
            confidence=np.clip(raw.confidence[real], 0.0, 1.0).astype(np.float32),
            labels=tuple(self._labels[index] for index in raw.classes[real]),
        )

    def close(self) -> None:
        self._runtime.close()


def load_model(wanted: str, settings: DetectorSettings, cache: Path) -> DetectionModel:
    """Find, read, export, load and try out a model. Blocks for seconds (minutes with TensorRT).

    Args:
        wanted: path or name of the weights, see `resolve_weights`.
        settings: runtime, precision, input size, thresholds.
        cache: folder for downloads and exports.

    Raises:
        ModelError: the file cannot be used as a detector.
        ConfigError: the settings ask for what this machine cannot do.
    """
    weights = resolve_weights(wanted, cache)
    exports = ExportCache(cache)
    network = open_network(weights, exports)
    name = choose_runtime(settings.runtime)
    options = RuntimeOptions.of(settings)
    runtime = open_runtime(name, network, weights.sha256, options, exports)
    model = DetectionModel(weights, name, runtime, network.labels, options.input_size)
    _try_out(model, options.input_size)
    return model


def _try_out(model: DetectionModel, input_size: tuple[int, int]) -> None:
    """One frame through everything: the first call is slow, and what cannot run shows itself."""
    width, height = input_size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame = LetterboxedFrame(pixels, Letterbox.fit(input_size, input_size))
    try:
        (seen,) = model.detect([frame])
    except (RuntimeError, ValueError, IndexError) as error:
        model.close()
        raise ModelError(f"{model.info.name} loads but does not run: {error}") from error
    if not (np.isfinite(seen.xyxy).all() and np.isfinite(seen.confidence).all()):
        model.close()
        raise ModelError(f"{model.info.name} gives numbers that are not finite.")
