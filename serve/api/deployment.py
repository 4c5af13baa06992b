"""The HTTP API as a Ray Serve ingress: builds its connections in the replica, and closes them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httpx
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from cluster.core.log import configure_logging, get_logger
from cluster.core.names import API, CONTROLLER_ACTOR
from cluster.core.settings import Settings
from cluster.core.work_orders import WorkOrders
from cluster.media.gateway_choice import make_gateway
from cluster.media.resolution import CameraAddresses
from cluster.runtime import services
from cluster.stores.bus import open_redis
from cluster.stores.db import Database, RecordCipher
from pipelines.clock import SystemClock
from pipelines.errors import AtalaiaError
from serve.api.app import create_app
from serve.api.blobs import BlobPool
from serve.api.metrics_port import MetricsPort
from serve.api.ports import Deps, Probe
from serve.api.ray_ports import (
    Actors,
    RayController,
    RayDetector,
    RayEmbedder,
    RayHosts,
    RayJobs,
    RayMemory,
)
from serve.api.readiness import PROBE_TIMEOUT_S
from serve.api.state import state_of

log = get_logger("api")

# Event streams stay open, so this bounds streams and requests together.
MAX_ONGOING_REQUESTS = 1_000


@serve.deployment(
    name=API,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    # It waits for others nearly all the time.
    ray_actor_options={"num_cpus": 0.1},
    # Event streams never end by themselves; clients resume without a loss.
    graceful_shutdown_timeout_s=3.0,
    graceful_shutdown_wait_loop_s=0.5,
)
@serve.ingress()
class Api:
    """Ingress of the application.

    Args:
        settings: the whole tree; holds secrets, so it travels inside the cluster only.
        detector, embedder, memory: handles of the deployments bound beside this one.
    """

    def __init__(
        self,
        settings: Settings,
        detector: DeploymentHandle[Any],
        embedder: DeploymentHandle[Any],
        memory: DeploymentHandle[Any],
    ) -> None:
        configure_logging(settings.log)
        self._settings = settings
        self._database = Database.of(settings, cipher=RecordCipher.of(settings))
        self._redis = open_redis(settings.redis_url_of("api"))
        self._web = httpx.AsyncClient(timeout=PROBE_TIMEOUT_S)
        self._gateway = make_gateway(settings)
        self._blobs = BlobPool(settings.blob_url)
        self._addresses = CameraAddresses.of(settings)
        actors = Actors(settings.ray.namespace)
        orders = WorkOrders.of(settings, SystemClock())
        models = (
            RayDetector(detector, orders),
            RayEmbedder(embedder, orders),
            RayMemory(memory, orders),
        )
        self._deps = Deps(
            settings=settings,
            clock=SystemClock(),
            database=self._database,
            redis=self._redis,
            detector=models[0],
            embedder=models[1],
            memory=models[2],
            controller=RayController(actors, orders),
            hosts=RayHosts(actors, orders),
            jobs=RayJobs(),
            blobs=self._blobs,
            addresses=self._addresses,
            probes=self._probes(actors, *models),
            replica=serve.get_replica_context().replica_id.unique_id,
        )

    async def __serve_build_asgi_app__(self) -> FastAPI:
        # Where nobody runs `atalaia up`, as under KubeRay, or after Ray's head was replaced, the
        # controller and the listener are started from here. They are started once, by name.
        self._ensuring = asyncio.create_task(self._ensure_services(), name="ensure services")
        app = create_app(self._deps)
        self._metrics_port = MetricsPort(self._settings.api.metrics, state_of(app).metrics)
        self._metrics_port.start()
        return app

    async def _ensure_services(self) -> None:
        try:
            await services.ensure(self._settings)
        except (AtalaiaError, RayError) as error:
            log.error("controller or listener not started", error=str(error))

    def _probes(
        self, actors: Actors, detector: RayDetector, embedder: RayEmbedder, memory: RayMemory
    ) -> dict[str, Probe]:
        async def livekit() -> None:
            url = httpx.URL(self._settings.livekit.url)
            scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
            (await self._web.get(url.copy_with(scheme=scheme, path="/"))).raise_for_status()

        return {
            "livekit": livekit,
            "gateway": self._gateway.names,
            "detector": detector.info,
            "embedder": embedder.info,
            "memory": memory.info,
            "controller": partial(actors.ping, CONTROLLER_ACTOR),
            "listener": actors.listener,
        }

    async def __del__(self) -> None:
        await self._metrics_port.aclose()
        await self._blobs.aclose()
        await self._gateway.aclose()
        self._addresses.close()
        await self._web.aclose()
        await self._redis.aclose()
        await self._database.aclose()
