"""The detector as a worker uses it: a model of its own, or that of the live cameras."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol, cast

from ray.serve.handle import DeploymentHandle

from cluster.batch.chunks import Look
from cluster.batch.request import DetectorChoice
from cluster.core.backoff import Backoff
from cluster.core.handles import deployment
from cluster.core.log import get_logger
from cluster.core.names import DETECTOR
from cluster.core.remote import ray_errors
from cluster.core.settings import Settings
from pipelines.clock import Clock, SystemClock
from pipelines.domain import Detections, LetterboxedFrame
from pipelines.errors import ModelError, UnavailableError

log = get_logger("batch.eyes")

# Behind busy cameras a group has one call in 21 (see `cluster.inference.batching`): some seconds on
# two cores. Longer than this it takes where the detector is gone.
SHARED_TIMEOUT_S = 120.0
# A replica that is replaced, or a lane that other jobs have filled, is waited out for so long.
PATIENCE_S = 300.0
# Two groups of four keep a replica of two CPU cores busy, and are 3 MB each.
SHARED_GROUP, SHARED_CALLS = 4, 2


class Eyes(Protocol):
    """A detector as a worker uses it.

    Attributes:
        group: most pictures of one call.
        calls: calls that should be in flight at once, each from its own thread.
    """

    group: int
    calls: int

    def look(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        """One result per frame, in their order. Blocks."""
        ...


class OwnEyes:
    """A model in this process. Raises ModelError, ConfigError as `load_model` does."""

    def __init__(self, look: Look, settings: Settings) -> None:
        from cluster.inference.model import load_model

        detector = settings.detector.model_copy(update={"threads": settings.batch.worker_threads})
        self._model = load_model(look.weights, detector, settings.model_cache)
        if self._model.info.sha256 != look.sha256:
            raise ModelError(
                f"{look.weights} is another file on this machine than where the job was started.",
                hint="Put the same weights on every machine of the cluster.",
            )
        self.group = self._model.max_batch
        self.calls = self._model.parallel

    def look(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        return self._model.detect(frames)


class SharedEyes:
    """The Detector deployment, behind the frames of live cameras."""

    group = SHARED_GROUP
    calls = SHARED_CALLS

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        # A handle belongs to the loop on which it was made (`core.handles`); a worker has none.
        self._detector: DeploymentHandle[Any] | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="shared eyes", daemon=True).start()

    def look(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        """Raises UnavailableError where no answer came for `PATIENCE_S`."""
        backoff = Backoff(0.5, 10.0)
        until_s = self._clock.monotonic() + PATIENCE_S
        while True:
            asking = asyncio.run_coroutine_threadsafe(self._ask(frames), self._loop)
            try:
                return asking.result()
            except UnavailableError as error:
                if self._clock.monotonic() > until_s:
                    raise
                log.info("the detector is waited for", reason=error.message)
            time.sleep(backoff.next_delay_s())

    async def _ask(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        async with ray_errors("detector", SHARED_TIMEOUT_S):
            if self._detector is None:
                self._detector = deployment(DETECTOR)
            answer = await self._detector.detect_many.remote(list(frames))
            return cast("list[Detections]", answer)


def open_eyes(detector: DetectorChoice, look: Look, settings: Settings) -> Eyes:
    """Blocks for seconds where a model is loaded."""
    return SharedEyes() if detector is DetectorChoice.SHARED else OwnEyes(look, settings)
