"""The detector of the live cameras, for a batch worker.

It needs Ray Serve, whose import takes a second that workers with their own model do without.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from ray.serve.handle import DeploymentHandle

from cluster.core.backoff import Backoff
from cluster.core.handles import deployment
from cluster.core.log import get_logger
from cluster.core.names import DETECTOR
from cluster.core.remote import ray_errors
from cluster.core.work_orders import Purpose, WorkOrders
from pipelines.clock import Clock, SystemClock
from pipelines.domain import Detections, LetterboxedFrame, WorkOwner
from pipelines.errors import UnavailableError

log = get_logger("batch.eyes")

# While live cameras keep the detector busy, it takes one batch call in 21 (see
# `cluster.inference.lanes`): some seconds on two cores. A call that takes longer than this means
# that the detector is gone.
SHARED_TIMEOUT_S = 120.0
# How long to retry while a replica is replaced, or while other jobs fill the batch lane.
MAX_WAIT_S = 300.0
# Two batches of four frames, 3 MB each, keep a replica of two CPU cores busy.
SHARED_BATCH_SIZE, SHARED_CONCURRENCY = 4, 2


class RemoteDetector:
    """The Detector deployment of the live cameras. Live frames take priority.

    Args:
        owner: whose work it does.
        orders: sign that.
    """

    batch_size = SHARED_BATCH_SIZE
    concurrency = SHARED_CONCURRENCY

    def __init__(self, owner: WorkOwner, orders: WorkOrders, clock: Clock | None = None) -> None:
        self._owner = owner
        self._orders = orders
        self._clock = clock or SystemClock()
        # A handle is bound to the event loop that made it (`core.handles`). A worker has no loop.
        self._detector: DeploymentHandle[Any] | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="remote detector", daemon=True).start()

    def detect(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        """One result per frame, in the same order. Blocks.

        Raises:
            UnavailableError: no answer for `MAX_WAIT_S`.
        """
        backoff = Backoff(0.5, 10.0)
        until_s = self._clock.monotonic() + MAX_WAIT_S
        while True:
            call = asyncio.run_coroutine_threadsafe(self._call(frames), self._loop)
            try:
                return call.result()
            except UnavailableError as error:
                if self._clock.monotonic() > until_s:
                    raise
                log.info("waiting for the detector", reason=error.message)
            time.sleep(backoff.next_delay_s())

    async def _call(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        order = self._orders.issue(self._owner, Purpose.DETECT)
        async with ray_errors("detector", SHARED_TIMEOUT_S):
            if self._detector is None:
                self._detector = deployment(DETECTOR)
            answer = await self._detector.detect_many.remote(list(frames), order)
            return cast("list[Detections]", answer)
