"""What turns crops (and, for some models, words) into vectors: the protocol, and what all share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipelines.domain import Frozen
from pipelines.errors import InputError

Pixels = npt.NDArray[np.uint8]
"""RGB, (height, width, 3)."""
Vectors = npt.NDArray[np.float32]
"""(n, dim), each row of length 1."""


class EmbedderInfo(Frozen):
    """What an embedder makes. Vectors of different names do not compare.

    Attributes:
        name: model and version; also names the collection that keeps its vectors.
        dim: numbers per vector.
        text: whether words can be embedded too.
    """

    name: str
    dim: int
    text: bool


class EmbeddingModel(Protocol):
    """Loaded and ready. Its calls block; one at a time.

    Attributes:
        info: what it makes.
        max_batch: most pictures that one call gains from.
    """

    info: EmbedderInfo
    max_batch: int

    def embed_images(self, images: Sequence[Pixels]) -> Vectors: ...

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Raises InputError where the model has no text side."""
        ...

    def close(self) -> None: ...


def checked_picture(pixels: Pixels) -> Pixels:
    """`pixels`, or InputError where it is no RGB picture."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(
            f"expected a picture uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}."
        )
    return pixels


def normalised(vectors: npt.NDArray[np.floating]) -> Vectors:
    """Rows scaled to length 1. Raises InputError where a row has no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        raise InputError("the model gives no usable vector for this input.")
    return np.asarray(vectors / lengths, dtype=np.float32)
