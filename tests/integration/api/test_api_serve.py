"""The API as Ray runs it: ingress of a Serve application, behind Serve's own HTTP proxy.

The deployments beside it are small ones of this test; how the real ones fit is shown end to end.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import ray
from pydantic import SecretStr
from ray import serve
from ray.serve.config import HTTPOptions

from cluster.core.api_settings import MetricsSettings
from cluster.core.names import CONTROLLER_ACTOR, HOST_ACTOR, SERVE_APP, SERVE_ENVIRONMENT
from cluster.core.settings import (
    ApiSettings,
    DatabaseSettings,
    LiveKitSettings,
    RaySettings,
    RedisSettings,
    Settings,
)
from cluster.core.work_orders import Purpose, WorkOrder
from cluster.stores.bus import AlarmStream, CameraStatus, CameraStatusBoard, open_redis
from cluster.stores.db import Database, new_key
from pipelines.domain import CameraState, Detections, LetterboxedFrame, WorkOwner
from pipelines.errors import InputError, UnavailableError
from serve.api.auth import FAILURES_PER_MINUTE
from serve.api.deployment import Api
from tests.factories import CIPHER, ORDERS, RECORD_KEY, make_alarm, make_camera
from tests.integration.api.ports import Model
from tests.integration.api.test_api_detect import jpeg
from tests.integration.api.test_api_stream import follow, take
from tests.integration.api.world import LIVEKIT_SECRET, eventually, problem
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
HOST = HOST_ACTOR.format(index=0)

pytestmark = pytest.mark.timeout(240)


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Detector:
    """Sees one person in the middle; refuses frames that are wider than 1000 pixels."""

    async def detect_image(self, image: LetterboxedFrame, order: WorkOrder) -> Detections:
        width, height = image.letterbox.source
        if width > 1_000:
            raise UnavailableError("Too many frames wait.", hint="Try again.")
        box = np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]], np.float32)
        return Detections(box, np.array([0.9], np.float32), ("person",))

    async def info(self) -> Model:
        return Model(name="in-ray")


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Embedder:
    async def embed_image(
        self, pixels: npt.NDArray[np.uint8], order: WorkOrder
    ) -> npt.NDArray[np.float32]:
        raise RuntimeError("a bug with a secret in its text")

    async def embed_text(self, text: str, order: WorkOrder) -> npt.NDArray[np.float32]:
        raise InputError("This embedder has no text side.", hint="Search by a picture.")

    async def info(self) -> str:
        return "none"


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Memory:
    async def info(self) -> str:
        return "none"


@ray.remote(num_cpus=0)
class Host:
    """An agent host that holds one picture."""

    async def snapshot(self, order: WorkOrder, quality: int) -> bytes:
        return f"{order.owner.tenant}/{order.owner.camera}/{quality}".encode()


@ray.remote(num_cpus=0)
class Controller:
    def __init__(self) -> None:
        self._told: list[tuple[str, str | None]] = []

    async def changed(self, order: WorkOrder) -> None:
        self._told.append((order.owner.tenant, order.owner.camera))

    async def told(self) -> list[tuple[str, str | None]]:
        return self._told


class Running:
    """A deployed API, the keys to it, and the actors beside it."""

    def __init__(self, settings: Settings, key: str, controller: Any, host: Any) -> None:
        self.settings = settings
        self.key = key
        self.controller = controller
        self.host = host

    def client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.settings.api_url, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Settings:
    return Settings(
        data_dir=tmp_path_factory.mktemp("serve"),
        database=DatabaseSettings(encryption_key=RECORD_KEY),
        redis=RedisSettings(url=SecretStr(valkey)),
        livekit=LiveKitSettings(
            url=f"ws://127.0.0.1:{free_port()}", api_secret=SecretStr(LIVEKIT_SECRET)
        ),
        api=ApiSettings(port=free_port(), metrics=MetricsSettings(port=free_port(), ports=1)),
        ray=RaySettings(namespace="api-test"),
    )


async def prepare(settings: Settings, migrated: Path) -> str:
    """An empty Redis, and a database with a tenant and a camera; returns the tenant's key.

    Modules that ran before share the Redis, and an alarm that one of them published is published
    no second time.
    """
    redis = open_redis(settings.redis_url)
    await redis.flushall()
    await redis.aclose()
    path = Path(settings.database_url.removeprefix("sqlite+aiosqlite:///"))
    await asyncio.to_thread(path.parent.mkdir, parents=True)
    await asyncio.to_thread(shutil.copy, migrated, path)
    async with Database(settings.database_url, cipher=CIPHER) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        await database.tenant("acme").add_camera(make_camera())
        return (await database.platform().create_key("acme", "tests")).secret


@pytest.fixture(scope="module")
def running(settings: Settings, migrated: Path) -> Iterator[Running]:
    key = asyncio.run(prepare(settings, migrated))
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        for name, value in SERVE_ENVIRONMENT.items():
            patch.setenv(name, value)
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            namespace=settings.ray.namespace,
        )
        try:
            controller = Controller.options(name=CONTROLLER_ACTOR).remote()  # type: ignore[attr-defined]
            host = Host.options(name=HOST).remote()  # type: ignore[attr-defined]
            # The API waits seconds for a host, and a busy machine starts no actor in that time.
            first = ORDERS.issue(WorkOwner("acme", "gate"), Purpose.SNAPSHOT)
            ray.get([controller.told.remote(), host.snapshot.remote(first, 0)])
            application = Api.bind(settings, Detector.bind(), Embedder.bind(), Memory.bind())
            serve.start(http_options=HTTPOptions(host="127.0.0.1", port=settings.api.port))
            serve.run(application, name=SERVE_APP, route_prefix="/")
            yield Running(settings, key, controller, host)
        finally:
            serve.shutdown()
            ray.shutdown()


async def test_the_api_behind_the_proxy_of_serve(running: Running) -> None:
    async with running.client() as acme:
        assert (await acme.get("/healthz")).json() == {"status": "alive"}
        assert (await acme.get("/v1/session")).json()["tenant"] == "acme"
        problem(await acme.get("/v1/nothing"), 404, "not-found")
        problem(await acme.post("/v1/cameras", content=b"{"), 422)
        response = await acme.post("/v1/cameras", json={"id": "yard", "url": "rtsp://h/"})
        assert response.status_code == 201

    async def told() -> bool:
        return bool(await running.controller.told.remote() == [("acme", "yard")])

    await eventually(told, within_s=60)


async def test_a_caller_does_not_choose_its_address(running: Running) -> None:
    """Serve's proxy runs on uvicorn, which by default believes callers on its own machine."""
    async with httpx.AsyncClient(base_url=running.settings.api_url, timeout=30) as client:
        codes = [
            (
                await client.get(
                    "/v1/session",
                    headers={
                        "Authorization": f"Bearer {new_key()}",
                        "X-Forwarded-For": f"203.0.113.{number}",
                    },
                )
            ).status_code
            for number in range(FAILURES_PER_MINUTE + 2)
        ]
    assert codes == [401] * FAILURES_PER_MINUTE + [429] * 2


async def test_handles_and_their_errors(running: Running) -> None:
    async with running.client() as acme:
        seen = await acme.post("/v1/detect", files={"image": ("a.jpg", jpeg((320, 240)))})
        assert seen.json() == {
            "model": "in-ray",
            "detections": [{"class": "person", "confidence": 0.9, "box": [80, 60, 240, 180]}],
        }
        busy = await acme.post("/v1/detect", files={"image": ("a.jpg", jpeg((1_600, 240)))})
        assert problem(busy, 503, "unavailable")["detail"] == "Too many frames wait."
        text = await acme.post("/v1/search", json={"text": "a red car"})
        assert problem(text, 422)["hint"] == "Search by a picture."
        broken = await acme.post("/v1/search", files={"image": ("a.jpg", jpeg())})
        problem(broken, 500, "internal")
        assert "secret" not in broken.text


async def test_a_snapshot_from_the_actor_and_without_it(running: Running) -> None:
    redis = open_redis(running.settings.redis_url)
    status = CameraStatus(camera="gate", state=CameraState.LIVE, since_us=1, host=HOST, fps=25.0)
    await CameraStatusBoard(redis).put_all("acme", [status])
    async with running.client() as acme:
        assert (await acme.get("/v1/cameras/gate/snapshot")).content == b"acme/gate/85"
        gone = status.model_copy(update={"host": "atalaia-host-9"})
        await CameraStatusBoard(redis).put_all("acme", [gone])
        problem(await acme.get("/v1/cameras/gate/snapshot"), 503, "unavailable")
    await redis.aclose()


async def test_ready_tells_what_is_missing(running: Running) -> None:
    """The listener is not: the API starts it where nobody else did."""

    async def states() -> dict[str, str]:
        async with running.client() as acme:
            body = problem(await acme.get("/readyz"), 503, "unavailable")
        dependencies: dict[str, Any] = body["dependencies"]  # type: ignore[assignment]
        return {name: state["status"] for name, state in dependencies.items()}

    wanted = {"database", "redis", "detector", "embedder", "memory", "listener"}

    async def all_but_livekit_are_up() -> bool:
        seen = await states()
        up = {name for name, state in seen.items() if state == "up"}
        # On a busy machine, a probe of one that is up may take longer than its two seconds.
        return wanted <= up and "livekit" in seen.keys() - up

    await eventually(all_but_livekit_are_up, within_s=60)


async def test_events_pass_the_proxy_one_by_one_and_resume(running: Running) -> None:
    redis = open_redis(running.settings.redis_url)
    stream = AlarmStream(redis, "acme")
    async with running.client() as acme:
        async with follow(acme) as events:
            await anext(events)
            for n in range(3):
                published = await stream.publish(make_alarm(n))
                assert published is not None
                [event] = await take(events, 1)
                assert event.id == published
        assert await stream.publish(make_alarm(3)) is not None
        async with follow(acme, event.id) as events:
            [event] = await take(events, 1)
            assert json.loads(event.data)["id"] == str(make_alarm(3).id)

        async def nobody_listens() -> bool:
            # On the port of its own, where the replica says which one it is.
            scraped = await acme.get(
                f"http://127.0.0.1:{running.settings.api.metrics.port}/metrics"
            )
            [open_now] = re.findall(
                r'^atalaia_alarm_streams{replica="\w+"} (.*)$', scraped.text, re.M
            )
            return float(open_now) == 0

        # The replica notices that its clients have gone.
        await eventually(nobody_listens, within_s=60)
    await redis.aclose()
