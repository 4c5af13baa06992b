"""A CLIP-like embedder from a folder: pictures and words into one space.

The folder holds what every CLIP export has:

- `model.json`: `{"name": "…", "dim": 512, "image_size": 224, "mean": [r, g, b], "std": [r, g, b],
  "context": 77}`; mean and std of pixels in 0..1; `context` only with a text side.
- `image.xml` (OpenVINO, with its `.bin`) or `image.onnx`: float32 (n, 3, s, s) to (n, dim).
- `text.xml` or `text.onnx`: int64 (n, context) to (n, dim); optional.
- `vocab.json` and `merges.txt`: CLIP's tokenizer; with a text side.

Both formats are graphs without code, so a folder from a stranger can lie but cannot act.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import openvino as ov
from pydantic import Field, StringConstraints, ValidationError

from cluster.inference.clip_text import ClipTokenizer
from cluster.inference.embedder import EmbedderInfo, Pixels, Vectors, normalised
from pipelines.domain import Frozen
from pipelines.errors import InputError, ModelError

_GRAPHS = (".xml", ".onnx")
# Vectors are kept for months and compared across machines, so none may depend on what the CPU of
# the day computes in.
_OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
_PAD = 114


class ClipDescription(Frozen):
    """`model.json`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,60}$")]
    dim: Annotated[int, Field(ge=1, le=65_536)]
    image_size: Annotated[int, Field(ge=16, le=2_048)]
    mean: tuple[float, float, float]
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ]
    context: Annotated[int, Field(ge=3, le=4_096)] | None = None


@dataclass(frozen=True, slots=True)
class ClipFolder:
    """A checked folder: its description and the paths of its graphs."""

    path: Path
    description: ClipDescription
    image: Path
    text: Path | None
    digest: str

    @property
    def info(self) -> EmbedderInfo:
        # The weights' digest is part of the name: retrained under one name is another space.
        return EmbedderInfo(
            name=f"{self.description.name}-{self.digest[:8]}",
            dim=self.description.dim,
            text=self.text is not None,
        )

    @classmethod
    def read(cls, path: Path) -> ClipFolder:
        """Look at the folder without loading it. Raises ModelError, saying what is missing."""
        if not path.is_dir():
            raise ModelError(
                f"the embedder's folder {path} does not exist.",
                hint="Set embedder.model to a folder with a CLIP-like model, or to builtin.",
            )
        try:
            description = ClipDescription.model_validate(
                json.loads((path / "model.json").read_text(encoding="utf-8"))
            )
        except OSError as error:
            raise ModelError(f"cannot read {path / 'model.json'}: {error.strerror}.") from error
        except (ValueError, ValidationError) as error:
            raise ModelError(f"{path / 'model.json'} is wrong: {error}") from error
        image, text = _graph(path, "image"), _graph(path, "text")
        if image is None:
            raise ModelError(f"{path} holds neither image.xml nor image.onnx.")
        if text is not None and description.context is None:
            raise ModelError(f"{path} has a text side, but model.json gives no context.")
        return cls(path, description, image, text, _digest(image))


def _graph(folder: Path, name: str) -> Path | None:
    return next((path for suffix in _GRAPHS if (path := folder / f"{name}{suffix}").exists()), None)


def _digest(graph: Path) -> str:
    weights = graph.with_suffix(".bin") if graph.suffix == ".xml" else graph
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {weights}: {error.strerror}.") from error


class ClipEmbedder:
    """Image tower, and text tower where there is one, on the CPU through OpenVINO."""

    max_batch = 8

    def __init__(self, folder: ClipFolder) -> None:
        self.info = folder.info
        self._description = folder.description
        self._image = _compile(folder.image)
        self._text = _compile(folder.text) if folder.text else None
        self._tokenizer = (
            ClipTokenizer.read(folder.path, folder.description.context)
            if folder.text and folder.description.context
            else None
        )
        # Shows a folder whose parts do not belong together before anything is remembered with it.
        size = folder.description.image_size
        self.embed_images([np.full((size, size, 3), _PAD, np.uint8)])
        if self._tokenizer:
            self.embed_texts(["a"])

    def embed_images(self, images: Sequence[Pixels]) -> Vectors:
        return self._run(self._image, np.stack([self._prepared(image) for image in images]))

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        if self._text is None or self._tokenizer is None:
            raise InputError(
                f"the embedder {self.info.name} has no text side.", hint="Search by a picture."
            )
        return self._run(self._text, self._tokenizer(list(texts)))

    def close(self) -> None:
        self._image = self._text = None

    def _run(self, graph: Any, batch: npt.NDArray[Any]) -> Vectors:
        try:
            output = np.asarray(graph([batch])[0], dtype=np.float32)
        except RuntimeError as error:
            raise ModelError(f"the embedder {self.info.name} does not run: {error}") from error
        if output.shape != (len(batch), self.info.dim):
            raise ModelError(
                f"the embedder {self.info.name} gives {output.shape}, "
                f"but model.json says ({len(batch)}, {self.info.dim})."
            )
        return normalised(output)

    def _prepared(self, image: Pixels) -> npt.NDArray[np.float32]:
        """(3, s, s), normalised. The whole object, undistorted: its centre would lose the head."""
        size = self._description.image_size
        height, width = image.shape[:2]
        scale = size / max(height, width)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        shrink = scale < 1
        small = cv2.resize(
            image, shape, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
        )
        square = np.full((size, size, 3), _PAD, np.uint8)
        left, top = (size - shape[0]) // 2, (size - shape[1]) // 2
        square[top : top + shape[1], left : left + shape[0]] = small
        mean = np.asarray(self._description.mean, np.float32)
        std = np.asarray(self._description.std, np.float32)
        scaled = (square.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _compile(graph: Path) -> Any:
    try:
        return ov.Core().compile_model(graph, "CPU", _OPTIONS)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot read {graph}: {str(error)[:300]}") from error
