"""The embedder as a Ray Serve deployment: crops become vectors, and vectors go to the memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.serve import metrics
from ray.serve.handle import DeploymentHandle

from cluster.core.aio import call_foreign
from cluster.core.handles import by_value
from cluster.core.log import configure_logging
from cluster.core.remote import ray_errors
from cluster.core.settings import Settings
from cluster.core.work_orders import Purpose, WorkOrder, WorkOrders
from cluster.inference.batching import Batcher, BatchTimes
from cluster.inference.embedder import EmbedderInfo, Pixels, checked_picture
from cluster.inference.embedders import load_embedder
from cluster.inference.lanes import Lane
from pipelines.clock import SystemClock
from pipelines.domain import Crop, WorkOwner

Vector = npt.NDArray[np.float32]

# A crop comes once or twice per track: this many is a crowd entering at once.
MAX_WAITING = 256
BATCH_WAIT_S = 0.005
MEMORY_TIMEOUT_S = 10.0
_STAGE_BOUNDS_MS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


@serve.deployment(
    max_ongoing_requests=MAX_WAITING + 64,
    max_queued_requests=MAX_WAITING,
    health_check_period_s=10,
    graceful_shutdown_timeout_s=10,
)
class Embedder:
    """Turns pictures and words into vectors; L2-normalised float32.

    Args:
        settings: the whole tree, parsed where it is deployed.
        memory: handle of the Memory deployment.
    """

    def __init__(self, settings: Settings, memory: DeploymentHandle[Any]) -> None:
        configure_logging(settings.log)
        self._memory = by_value(memory)
        self._orders = WorkOrders.of(settings, SystemClock())
        self._model = load_embedder(settings.embedder)
        # A model takes one call at a time. Two calls of one graph share its OpenVINO request: of
        # 2,400 by six threads 2,326 failed as busy, and 18 got the vector of another text.
        self._model_free = threading.Lock()
        # One thread, so that texts that wait for the model hold no thread of the default pool.
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="embed-text")
        self._queue: Batcher[Pixels, Vector] | None = None
        self._stage = metrics.Histogram(
            "atalaia_embedder_stage_ms",
            description="milliseconds per batch: queue (its oldest crop waited), embed",
            boundaries=_STAGE_BOUNDS_MS,
            tag_keys=("stage",),
        )
        self._remembered = metrics.Counter(
            "atalaia_embedder_remembered", description="crops whose vector was stored"
        )

    @property
    def _batcher(self) -> Batcher[Pixels, Vector]:
        # Made on first use, because its tasks belong to the loop that serves requests.
        if self._queue is None:
            self._queue = Batcher(
                self._embed,
                max_batch=self._model.max_batch,
                parallel=1,
                wait_s=BATCH_WAIT_S,
                max_waiting={Lane.LIVE: MAX_WAITING},
                clock=SystemClock(),
                observe=self._observe,
            )
        return self._queue

    def _embed(self, images: Sequence[Pixels]) -> list[Vector]:
        with self._model_free:
            return list(self._model.embed_images(images))

    def _embed_text(self, text: str) -> Vector:
        with self._model_free:
            vector: Vector = self._model.embed_texts([text])[0]
            return vector

    def _observe(self, times: BatchTimes) -> None:
        self._stage.observe(times.waited_s * 1e3, tags={"stage": "queue"})
        self._stage.observe(times.ran_s * 1e3, tags={"stage": "embed"})

    async def remember(self, crop: Crop, order: WorkOrder) -> None:
        """Embed the crop and store it for its tenant; the same track again replaces it.

        Raises:
            InputError: the crop is no picture.
            UnavailableError: too many crops wait, or the memory is away.
            WorkRefusedError: the order is not for the crop's camera.
        """
        sighting = crop.sighting
        owner = WorkOwner(sighting.tenant, sighting.camera)
        self._orders.check(order, Purpose.REMEMBER, of=owner)
        vector = await self._embed_picture(crop.pixels, owner)
        async with ray_errors("memory", MEMORY_TIMEOUT_S):
            await self._memory.upsert.remote(
                self._orders.issue(owner, Purpose.REMEMBER), sighting, vector
            )
        self._remembered.inc()

    async def embed_image(self, pixels: Pixels, order: WorkOrder) -> Vector:
        """float32 (dim,) of an RGB picture. Raises InputError, UnavailableError,
        WorkRefusedError."""
        return await self._embed_picture(pixels, self._orders.check(order, Purpose.EMBED))

    async def _embed_picture(self, pixels: Pixels, owner: WorkOwner) -> Vector:
        return await self._batcher.submit(checked_picture(pixels), owner)

    async def embed_text(self, text: str, order: WorkOrder) -> Vector:
        """float32 (dim,) in the space of the pictures. Raises InputError without a text side,
        WorkRefusedError."""
        self._orders.check(order, Purpose.EMBED)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._texts, call_foreign, self._embed_text, text)

    async def info(self) -> EmbedderInfo:
        return self._model.info

    async def check_health(self) -> None:
        """Raises where crops can no longer get through; Serve then replaces this replica."""
        if self._queue is not None and self._queue.broken():
            raise RuntimeError("the worker of the embedder ended")
