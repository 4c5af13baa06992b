"""The product with a given number of identical cameras, for benchmarks."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from cluster.core.settings import Settings, load_settings
from cluster.demo.cast import CAST, Role
from cluster.demo.simulator import DemoCamera, DemoCameras
from cluster.local.ports import free_port
from cluster.local.stack import LocalStack
from cluster.runtime.application import Application
from cluster.stores.db import CameraChanges, Database, migrate
from pipelines.domain import Camera

TENANT = "bench"
REPOSITORY = str(Path(__file__).resolve().parents[1])
LIVE_TIMEOUT_S = 180.0
POLL_S = 0.5


class Stage:
    """Starts servers, cameras and application; an async context manager.

    Args:
        settings: from `Stage.settings`.
        cameras: how many; all play the composed gate scene with its rules.
    """

    def __init__(self, settings: Settings, cameras: int) -> None:
        scene = next(role for role in CAST if role.scene is not None)
        self._roles: tuple[Role, ...] = tuple(
            replace(scene, tenant=TENANT, id=f"cam-{i}", name=f"Camera {i}") for i in range(cameras)
        )
        self._stack = LocalStack(settings)
        self._simulator = DemoCameras(settings, roles=self._roles)
        self._cameras: list[DemoCamera] = []
        self._application: Application | None = None
        self._wanted = cameras

    @staticmethod
    def settings(folder: Path) -> Settings:
        """Free ports and a folder of their own; built servers and exported models are reused."""
        base = load_settings()
        for name in ("bin", "models"):
            kept = base.data_dir.resolve() / name
            kept.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(kept)
        return base.model_copy(
            update={
                "data_dir": folder,
                "livekit": base.livekit.model_copy(
                    update={
                        "url": f"ws://127.0.0.1:{free_port()}",
                        "rtc_udp_port": free_port("udp"),
                    }
                ),
                "gateway": base.gateway.model_copy(
                    update={
                        "rtsp_url": f"rtsp://127.0.0.1:{free_port()}",
                        "relay_url": f"tcp://127.0.0.1:{free_port()}",
                        # The stage's cameras are on loopback.
                        "allow": (*base.gateway.allow, "127.0.0.1"),
                    }
                ),
                "redis": base.redis.model_copy(update={"port": free_port()}),
                "ray": base.ray.model_copy(update={"dashboard_port": free_port()}),
                "api": base.api.model_copy(update={"port": free_port()}),
            }
        )

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _start(self) -> None:
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [REPOSITORY, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self._cameras, _ = await asyncio.gather(self._simulator.start(), self._stack.start())
        settings = self._stack.settings
        await migrate(settings.database_url)
        self._database = Database.of(settings)
        platform = self._database.platform()
        await platform.ensure_tenant(TENANT, "Benchmark")
        key = await platform.create_key(TENANT, "benchmark")
        self.client = httpx.AsyncClient(
            base_url=settings.api_url,
            headers={"Authorization": f"Bearer {key.secret}"},
            timeout=30.0,
        )
        records = self._database.tenant(TENANT)
        for camera in self._cameras:
            await records.add_camera(
                Camera(tenant=TENANT, id=camera.id, name=camera.name, url=camera.url)
            )
            for rule in camera.rules:
                await records.add_rule(camera.id, rule)
        self._application = Application(settings)
        await self._application.start()

    async def aclose(self) -> None:
        if self._application is not None:
            await self.client.aclose()
            await self._application.aclose()
            await self._database.aclose()
        await self._stack.aclose()
        await self._simulator.aclose()
        shutil.rmtree(self._stack.settings.run_dir, ignore_errors=True)

    @property
    def urls(self) -> list[str]:
        """RTSP URLs of the cameras themselves, with credentials."""
        return [camera.url.get_secret_value() for camera in self._cameras]

    @property
    def loop_s(self) -> float:
        """Seconds until the scene repeats."""
        return self._cameras[0].loop_s

    async def keep(self, count: int) -> None:
        """Enable the first `count` cameras, disable the others, and wait until that took effect."""
        self._wanted = count
        for index, camera in enumerate(self._cameras):
            await self._database.tenant(TENANT).update_camera(
                camera.id, CameraChanges(enabled=index < count)
            )
        await self._until_states()

    async def all_live(self, detect_fps: float) -> None:
        """Set the analysis rate of all cameras, and wait until the enabled ones are live."""
        for camera in self._cameras:
            await self._database.tenant(TENANT).update_camera(
                camera.id, CameraChanges(detect_fps=detect_fps)
            )
        await self._until_states()

    async def analysed_fps(self, seconds: float) -> float:
        """Analysed frames per second, summed over all cameras, averaged over `seconds`."""
        sums: list[float] = []
        for _ in range(max(1, round(seconds))):
            await asyncio.sleep(1.0)
            cameras = await self._states()
            sums.append(sum(camera["stats"]["watched_fps"] for camera in cameras))
        return sum(sums) / len(sums)

    async def _states(self) -> list[dict[str, Any]]:
        answer = (await self.client.get("/v1/cameras")).raise_for_status()
        cameras: list[dict[str, Any]] = answer.json()["cameras"]
        return cameras

    async def _until_states(self) -> None:
        async with asyncio.timeout(LIVE_TIMEOUT_S):
            while True:
                states = [camera["state"] for camera in await self._states()]
                if states.count("live") == self._wanted:
                    return
                await asyncio.sleep(POLL_S)
