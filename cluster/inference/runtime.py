"""What runs a network: the protocol of all runtimes, and what they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cluster.core.settings import DetectorSettings
from cluster.inference.postprocess import RawDetections

# Whatever changes what an export puts out must change this, so that old exports go unused.
EXPORT_FORMAT = "atalaia-1"


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What a runtime has to know.

    Attributes:
        input_size: width, height in input pixels.
        precision: `auto`, `bf16`, `fp16` or `fp32`.
        confidence: least score that is returned.
        iou: overlap above which the weaker box of a class is dropped.
        max_batch: most frames of one call, where the runtime gains from batches.
        threads: CPU threads, 0 for all cores.
        pinned: whether CPU threads may be bound to cores (not where several replicas share them).
    """

    input_size: tuple[int, int]
    precision: str
    confidence: float
    iou: float
    max_batch: int
    threads: int = 0
    pinned: bool = True

    @classmethod
    def of(cls, settings: DetectorSettings) -> RuntimeOptions:
        return cls(
            input_size=(settings.input_width, settings.input_height),
            precision=settings.precision,
            confidence=settings.confidence,
            iou=settings.iou,
            max_batch=settings.max_batch,
            threads=settings.threads,
            # Each replica would bind its threads to the same first cores.
            pinned=settings.replica_count == 1,
        )


class Runtime(Protocol):
    """A network that is loaded and ready.

    Attributes:
        precision: in which it computes: `bf16`, `fp16` or `fp32`.
        max_batch: most frames that one `infer` call gains from; 1 where batches gain nothing.
        parallel: `infer` calls that should be in flight at once, each from its own thread.
    """

    precision: str
    max_batch: int
    parallel: int

    def infer(self, batch: npt.NDArray[np.uint8]) -> list[RawDetections]:
        """Detect. Blocks; call it from a thread.

        Args:
            batch: uint8 (n, height, width, 3), RGB, of the input size.

        Returns:
            n results, in the order of the frames, in input pixels.
        """
        ...

    def close(self) -> None:
        """Give memory back; no `infer` may be running or follow."""
        ...


def package_version(name: str) -> str:
    """`name` and its installed version, for export keys."""
    from importlib.metadata import version

    return f"{name} {version(name)}"


def model_file(folder: Path, suffix: str) -> Path:
    """Where an export's main file lies."""
    return folder / f"model.{suffix}"
