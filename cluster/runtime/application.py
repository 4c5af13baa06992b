"""The application on a connected Ray cluster: schema, Serve deployments, controller and listener.

`atalaia up`, the demo, the tests and the benchmarks all start it here. Whoever connects Ray decides
whether it runs on one machine or on a cluster.
"""

from __future__ import annotations

import asyncio
import importlib

import httpx
import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from cluster.core.log import get_logger
from cluster.core.names import SERVE_APP
from cluster.core.settings import Settings
from cluster.runtime import services
from cluster.runtime.stand_in import StandIn
from cluster.stores.db import Database, RecordCipher, migrate
from pipelines.errors import UnavailableError

log = get_logger("application")

SERVE_BUILDER = ("serve.app", "build")
"""By name, because `cluster` must not import `serve`; Serve's own config files do the same."""

READY_TIMEOUT_S = 240.0
"""The first start exports the model, which takes a minute on two cores."""
POLL_S = 0.5
"""Between requests to `/readyz`."""


class Application:
    """Starts and stops all of Atalaia's own components. Ray must be connected before `start`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stand_in = StandIn(settings.api.host, settings.api.port)

    async def start(self) -> None:
        """Migrate the schema, deploy, start the services, and wait until the API is ready.

        Raises:
            ConfigError: there is no key for the secrets in the database.
            UnavailableError: it did not become ready in time; the message says what was missing.
        """
        RecordCipher.of(self._settings)  # now, before anything is changed
        await migrate(self._settings.migration_url)
        await self._warn_of_plain_text()
        await asyncio.to_thread(self._deploy)
        await services.ensure(self._settings)
        await self.wait_ready()
        self._stand_in.start()

    async def aclose(self) -> None:
        """Stop services, workers and deployments. Idempotent."""
        await self._stand_in.aclose()
        await services.stop(self._settings)
        if ray.is_initialized():
            await asyncio.to_thread(serve.shutdown)

    async def _warn_of_plain_text(self) -> None:
        """Versions before the encryption of the records left their URLs as they were."""
        async with Database.of(self._settings) as database:
            if cameras := await database.secrets().plain():
                log.warning(
                    "URLs of cameras are not encrypted; run `atalaia database re-encrypt`",
                    cameras=cameras,
                )

    def _deploy(self) -> None:
        build = getattr(importlib.import_module(SERVE_BUILDER[0]), SERVE_BUILDER[1])
        api = self._settings.api
        # A balancer in front finds one on each node that has a replica.
        serve.start(
            proxy_location=ProxyLocation.EveryNode,
            http_options=HTTPOptions(host=api.host, port=api.port),
        )
        serve.run(build(self._settings), name=SERVE_APP, route_prefix="/")

    async def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until `/readyz` succeeds.

        Raises:
            UnavailableError: not within `timeout_s`; the message has the last response.
        """
        answer = "no answer"
        url = f"http://{self._settings.api.host}:{self._settings.api.port}/readyz"
        try:
            async with asyncio.timeout(timeout_s), httpx.AsyncClient(timeout=5.0) as client:
                while True:
                    try:
                        response = await client.get(url)
                        if response.is_success:
                            return
                        answer = response.text
                    except httpx.TransportError as error:
                        answer = type(error).__name__
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise UnavailableError(
                f"the API did not become ready within {timeout_s:.0f} s: {answer}",
                hint="Run `atalaia doctor`, and check the logs.",
            ) from None
