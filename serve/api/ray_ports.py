"""The ports over Ray: Serve handles for the models, actors for controller and agent hosts."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import ray
from ray.actor import ActorHandle
from ray.job_submission import JobSubmissionClient
from ray.serve.handle import DeploymentHandle

from cluster.core.handles import by_value
from cluster.core.names import CONTROLLER_ACTOR, LISTENER_ACTOR
from cluster.core.remote import ray_errors, unavailable
from cluster.core.work_orders import PLATFORM, Purpose, WorkOrders
from pipelines.domain import CameraKey, Detections, LetterboxedFrame, SightingFilter, WorkOwner
from pipelines.errors import NotFoundError
from serve.api.ports import LoadedModel, ScoredSighting, Vector

_T = TypeVar("_T")

# A cold replica's first inference takes some 5 s; nobody waits longer than this for a picture.
MODEL_TIMEOUT_S = 20.0

# Reading and exporting a model takes some 20 s on two free cores.
LOAD_TIMEOUT_S = 300.0

# A host only encodes a JPEG that it already holds.
SNAPSHOT_TIMEOUT_S = 5.0

# Longer than a controller takes to come back after a crash (some 5 s on two busy cores).
ANNOUNCE_TIMEOUT_S = 15.0

PING_TIMEOUT_S = 2.0

# Ray answers before the job has started, within 0.1 s here.
JOBS_TIMEOUT_S = 20.0

# The code that runs here is the code that a job's process is to import.
_CODE = Path(__file__).resolve().parents[2]


class RayDetector:
    def __init__(self, handle: DeploymentHandle[Any], orders: WorkOrders) -> None:
        self._handle = by_value(handle)
        self._orders = orders

    async def detect_image(self, image: LetterboxedFrame, owner: WorkOwner) -> Detections:
        order = self._orders.issue(owner, Purpose.DETECT)
        async with ray_errors("detector", MODEL_TIMEOUT_S):
            return cast("Detections", await self._handle.detect_image.remote(image, order))

    async def info(self) -> LoadedModel:
        async with ray_errors("detector", MODEL_TIMEOUT_S):
            return cast("LoadedModel", await self._handle.info.remote())

    async def load(self, weights: str) -> LoadedModel:
        order = self._orders.issue(PLATFORM, Purpose.MODEL)
        async with ray_errors("detector", LOAD_TIMEOUT_S):
            loaded = await self._handle.broadcast("load", weights, order).results_async()
            if not loaded:
                raise unavailable("detector")
            return cast("LoadedModel", loaded[0])


class RayEmbedder:
    def __init__(self, handle: DeploymentHandle[Any], orders: WorkOrders) -> None:
        self._handle = by_value(handle)
        self._orders = orders

    async def embed_image(self, pixels: npt.NDArray[np.uint8], owner: WorkOwner) -> Vector:
        order = self._orders.issue(owner, Purpose.EMBED)
        async with ray_errors("embedder", MODEL_TIMEOUT_S):
            return cast("Vector", await self._handle.embed_image.remote(pixels, order))

    async def embed_text(self, text: str, owner: WorkOwner) -> Vector:
        order = self._orders.issue(owner, Purpose.EMBED)
        async with ray_errors("embedder", MODEL_TIMEOUT_S):
            return cast("Vector", await self._handle.embed_text.remote(text, order))

    async def info(self) -> object:
        async with ray_errors("embedder", MODEL_TIMEOUT_S):
            return await self._handle.info.remote()


class RayMemory:
    def __init__(self, handle: DeploymentHandle[Any], orders: WorkOrders) -> None:
        self._handle = by_value(handle)
        self._orders = orders

    async def search(
        self,
        tenant: str,
        vector: Vector,
        limit: int,
        only: SightingFilter,
        cameras: frozenset[str] | None,
    ) -> Sequence[ScoredSighting]:
        order = self._orders.issue(WorkOwner(tenant), Purpose.SEARCH)
        async with ray_errors("memory", MODEL_TIMEOUT_S):
            found = await self._handle.search.remote(order, vector, limit, only, cameras)
            return cast("Sequence[ScoredSighting]", found)

    async def vector(self, tenant: str, camera: str, track: str) -> Vector:
        order = self._orders.issue(WorkOwner(tenant), Purpose.SEARCH)
        async with ray_errors("memory", MODEL_TIMEOUT_S):
            return cast("Vector", await self._handle.vector.remote(order, camera, track))

    async def info(self) -> object:
        async with ray_errors("memory", MODEL_TIMEOUT_S):
            return await self._handle.info.remote()


class Actors:
    """Named actors of the cluster, looked up by name for each call.

    A lookup is one question to Ray's control store (under 1 ms here); a kept handle would go on
    pointing at an actor that the controller has replaced.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def get(self, name: str, what: str) -> ActorHandle[Any]:
        """Raises UnavailableError where no actor of that name lives."""
        try:
            # A blocking call, hence the thread.
            return await asyncio.to_thread(ray.get_actor, name, self._namespace)
        except ValueError as error:
            raise unavailable(what) from error

    async def ping(self, name: str) -> None:
        """Returns where the actor reports that it works. Raises UnavailableError."""
        async with ray_errors(name, PING_TIMEOUT_S):
            actor = await self.get(name, name)
            if not await actor.ping.remote():
                raise unavailable(name)

    async def listener(self) -> str | None:
        """As `ping`; what the listener could not record since its start, None: nothing."""
        await self.ping(LISTENER_ACTOR)
        async with ray_errors(LISTENER_ACTOR, PING_TIMEOUT_S):
            actor = await self.get(LISTENER_ACTOR, LISTENER_ACTOR)
            return cast("str | None", await actor.losses.remote())


class RayController:
    def __init__(self, actors: Actors, orders: WorkOrders) -> None:
        self._actors = actors
        self._orders = orders

    async def changed(self, tenant: str, camera: str | None) -> None:
        order = self._orders.issue(WorkOwner(tenant, camera), Purpose.ANNOUNCE)
        async with ray_errors("controller", ANNOUNCE_TIMEOUT_S):
            actor = await self._actors.get(CONTROLLER_ACTOR, "controller")
            await actor.changed.remote(order)


class RayJobs:
    """Through the job submission API of the head's dashboard. Nothing secret goes through it: a
    job's process finds the settings where the cluster's other processes found them."""

    def __init__(self) -> None:
        self._client: JobSubmissionClient | None = None

    async def submit(self, submission: str, argv: Sequence[str]) -> None:
        await self._call(
            lambda client: client.submit_job(
                entrypoint=shlex.join(argv),
                submission_id=submission,
                runtime_env={"env_vars": {"PYTHONPATH": str(_CODE)}},
            )
        )

    async def ending(self, submission: str) -> str | None:
        try:
            info = await self._call(lambda client: client.get_job_info(submission))
        except NotFoundError:
            return "Ray does not know it any more"
        if not info.status.is_terminal():
            return None
        return f"its process ended: {info.status.value.lower()}"

    async def stop(self, submission: str) -> None:
        try:
            await self._call(lambda client: client.stop_job(submission))
        except NotFoundError:
            return

    async def _call(self, call: Callable[[JobSubmissionClient], _T]) -> _T:
        try:
            async with asyncio.timeout(JOBS_TIMEOUT_S):
                return await asyncio.to_thread(lambda: call(self._connected()))
        except OSError as error:  # TimeoutError and the HTTP client's errors are some
            raise unavailable("job submission") from error
        except RuntimeError as error:
            # Ray has no other way to report an unknown job.
            if "404" in str(error):
                raise NotFoundError("Ray knows no such job.") from None
            raise unavailable("job submission") from error

    def _connected(self) -> JobSubmissionClient:
        if self._client is None:
            self._client = JobSubmissionClient(ray.get_runtime_context().gcs_address)
        return self._client


class RayHosts:
    def __init__(self, actors: Actors, orders: WorkOrders) -> None:
        self._actors = actors
        self._orders = orders

    async def snapshot(self, host: str, key: CameraKey, quality: int = 85) -> bytes:
        order = self._orders.issue(WorkOwner(*key), Purpose.SNAPSHOT)
        async with ray_errors("camera's agent host", SNAPSHOT_TIMEOUT_S):
            actor = await self._actors.get(host, "camera's agent host")
            return cast("bytes", await actor.snapshot.remote(order, quality))
