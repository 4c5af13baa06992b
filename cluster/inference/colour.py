"""The default embedder: what colours an object shows. Installs offline, needs no weights.

It was chosen by a small measurement; docs/reid.md says how little that proves. It is also the
simplest: one joint L*a*b* histogram of the whole crop, compared by Bhattacharyya's coefficient,
which is the cosine of the square roots.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cluster.inference.embedder import EmbedderInfo, Pixels, Vectors
from pipelines.errors import InputError

BINS = 8
# Crops are compared at one size, so that near and far views of a person weigh their parts alike.
_SIZE = (48, 96)  # width, height: a standing person's shape


class ColourEmbedder:
    """Vectors of 512 numbers, L2-normalised, none negative."""

    max_batch = 1

    def __init__(self) -> None:
        self.info = builtin_info()

    def embed_images(self, images: Sequence[Pixels]) -> Vectors:
        return np.stack([colour_histogram(image) for image in images])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        raise InputError(
            "the built-in embedder has no text side.",
            hint="Search by a picture, or set embedder.model to a CLIP-like model.",
        )

    def close(self) -> None:
        """Nothing to give back."""


def builtin_info() -> EmbedderInfo:
    return EmbedderInfo(name="colour-lab-v1", dim=BINS**3, text=False)


def colour_histogram(image: Pixels) -> npt.NDArray[np.float32]:
    """Root of the joint L*a*b* histogram of an RGB picture (h, w, 3): float32 (512,), length 1."""
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.int32) * BINS // 256
    cells = (lab[:, 0] * BINS + lab[:, 1]) * BINS + lab[:, 2]
    shares = np.bincount(cells, minlength=BINS**3) / len(cells)
    return np.sqrt(shares).astype(np.float32)
