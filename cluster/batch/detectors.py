"""The detector of a batch worker: a local model, or the detector of the live cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.batch.chunks import InferenceSpec
from cluster.batch.request import DetectorChoice
from cluster.core.settings import Settings
from cluster.core.work_orders import WorkOrders
from pipelines.clock import SystemClock
from pipelines.domain import Detections, LetterboxedFrame, WorkOwner
from pipelines.errors import ModelError


class BatchDetector(Protocol):
    """A detector for batch jobs.

    Attributes:
        batch_size: maximum number of frames per call.
        concurrency: number of calls to keep in flight, each from its own thread.
    """

    batch_size: int
    concurrency: int

    def detect(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        """One result per frame, in the same order. Blocks.

        Raises:
            UnavailableError: the detector cannot be reached.
            ModelError: the model fails.
        """
        ...


class LocalDetector:
    """A model in this process.

    Raises:
        ModelError: the model cannot be loaded, or the weights differ from those of the job.
        ConfigError: the settings do not fit this machine.
    """

    def __init__(self, spec: InferenceSpec, settings: Settings) -> None:
        from cluster.inference.model import load_model

        detector = settings.detector.model_copy(update={"threads": settings.batch.worker_threads})
        self._model = load_model(spec.weights, detector, settings.model_cache)
        if self._model.info.sha256 != spec.sha256:
            raise ModelError(
                f"the weights {spec.weights} on this machine differ from those of the job.",
                hint="Put the same weights on every machine of the cluster.",
            )
        self.batch_size = self._model.max_batch
        self.concurrency = self._model.parallel

    def detect(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        """One result per frame, in the same order. Blocks. Raises ModelError."""
        return self._model.detect(frames)


def open_detector(
    detector: DetectorChoice, spec: InferenceSpec, settings: Settings
) -> BatchDetector:
    """The detector of a worker. Loading a local model blocks for seconds.

    Raises:
        ModelError: the model cannot be loaded, or the weights differ from those of the job.
        ConfigError: the settings do not fit this machine.
    """
    if detector is DetectorChoice.SHARED:
        from cluster.batch.remote_detector import RemoteDetector

        owner = WorkOwner(spec.tenant, spec.camera)
        return RemoteDetector(owner, WorkOrders.of(settings, SystemClock()))
    return LocalDetector(spec, settings)
