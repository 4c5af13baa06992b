"""Calls to the models that Ray Serve runs: the detector and the embedder."""

from __future__ import annotations

from typing import Any, cast

from ray.serve.handle import DeploymentHandle

from cluster.core.remote import ray_errors
from cluster.core.work_orders import Purpose, WorkOrders
from pipelines.attention import Urgency
from pipelines.domain import Crop, Detections, LetterboxedFrame, WorkOwner

DETECT_TIMEOUT_S = 5.0
"""Some 50 times the p99 of a busy detector here; a frame that old is of no use anyway."""
REMEMBER_TIMEOUT_S = 20.0


class ModelCalls:
    """Bounded calls with errors of ours. Only for the host's loop: a Serve handle routes on the
    loop that used it first.

    Args:
        detector, embedder: handles from `cluster.core.handles.deployment`.
        input_size: width, height of the detector's input.
        orders: sign whose work each call is.
    """

    def __init__(
        self,
        detector: DeploymentHandle[Any],
        embedder: DeploymentHandle[Any],
        input_size: tuple[int, int],
        orders: WorkOrders,
    ) -> None:
        self.input_size = input_size
        self._detector = detector
        self._embedder = embedder
        self._orders = orders

    async def detect(
        self, frame: LetterboxedFrame, owner: WorkOwner, urgency: Urgency
    ) -> Detections:
        """What is in the frame.

        Raises:
            StaleFrameError: it waited for so long that the detector dropped it.
            AtalaiaError: no answer comes in time.
        """
        order = self._orders.issue(owner, Purpose.DETECT)
        async with ray_errors("detector", DETECT_TIMEOUT_S):
            return cast(
                "Detections", await self._detector.detect.remote(frame, order, int(urgency))
            )

    async def remember(self, crop: Crop) -> None:
        """Embed the crop and store its vector. Raises AtalaiaError."""
        owner = WorkOwner(crop.sighting.tenant, crop.sighting.camera)
        order = self._orders.issue(owner, Purpose.REMEMBER)
        async with ray_errors("embedder", REMEMBER_TIMEOUT_S):
            await self._embedder.remember.remote(crop, order)
