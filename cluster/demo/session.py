"""The whole demo as one unit to start and stop: servers, cameras, database, application."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.demo.cast import CAST, Role
from cluster.demo.people import Users, demo_users, provision_users
from cluster.demo.provision import demo_keys, provision
from cluster.demo.simulator import DemoCameras
from cluster.local.files import write_private
from cluster.local.ports import free_port
from cluster.local.stack import LocalStack, StackEvent
from cluster.media.urls import normalize_camera_url
from cluster.runtime.application import Application
from cluster.stores.db import Database, RecordCipher, migrate

log = get_logger("demo")

ACCESS_FILE = "demo.json"
KEYS_FILE = "demo-keys.json"
USERS_FILE = "demo-users.json"


@dataclass(frozen=True, slots=True)
class DemoAccess:
    """How to reach the demo; the content of `.local/run/demo.json`."""

    api: str
    livekit: str
    rtsp: str
    keys: dict[str, str]
    users: Users


class DemoSession:
    """Starts the demo. Closing it leaves nothing running.

    Args:
        settings: as loaded.
        own_url: a camera of the user's own, for tenant `acme`.
        roles: which cameras to play.
        on_event: called when a part of the local stack changes its state.
        on_step: called with a description of the next step.

    Raises:
        InputError: `own_url` is not a camera URL; raised before anything starts.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        own_url: str | None = None,
        roles: tuple[Role, ...] = CAST,
        on_event: Callable[[StackEvent], None] = lambda _: None,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        if own_url is not None:
            normalize_camera_url(own_url)
        self._own_url = own_url
        self._on_step = on_step
        # The demo's cameras are on loopback. Only their port is permitted there.
        port = free_port()
        allow = (*settings.gateway.allow, f"127.0.0.1:{port}")
        gateway = settings.gateway.model_copy(update={"allow": allow})
        settings = settings.model_copy(update={"gateway": gateway})
        self.stack = LocalStack(settings, on_event=on_event)
        self.cameras = DemoCameras(settings, roles=roles, port=port)
        self._application: Application | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the running stack, with generated secrets and addresses."""
        return self.stack.settings

    @property
    def access_file(self) -> Path:
        """The file from which other programs learn how to reach the demo."""
        return self.settings.run_dir / ACCESS_FILE

    async def start(self) -> DemoAccess:
        """Start everything; returns when the API is ready. After an error nothing is left running.

        Raises:
            AtalaiaError: what could not be started, and what to do.
        """
        try:
            return await self._start()
        except BaseException:
            await self.aclose()
            raise

    async def _start(self) -> DemoAccess:
        self._on_step("Starting the servers and the demo's cameras")
        cameras, _ = await asyncio.gather(self.cameras.start(), self.stack.start())
        settings = self.settings
        self._on_step("Preparing tenants, cameras and rules")
        await migrate(settings.migration_url)
        keys = await asyncio.to_thread(demo_keys, settings.run_dir / KEYS_FILE)
        cipher = RecordCipher.of(settings)
        async with Database.of(settings, cipher=cipher) as database:
            await provision(database, cameras, keys, self._own_url)
            users, fresh = await asyncio.to_thread(demo_users, settings.run_dir / USERS_FILE)
            await provision_users(database, users, fresh=fresh)
        self._on_step("Starting the models and the API")
        self._application = Application(settings)
        await self._application.start()
        access = DemoAccess(
            api=settings.api_url,
            livekit=settings.livekit.browser_url,
            rtsp=settings.gateway.rtsp_url,
            keys=keys,
            users=users,
        )
        await asyncio.to_thread(write_private, self.access_file, json.dumps(asdict(access)) + "\n")
        return access

    async def aclose(self) -> None:
        """Stop application, servers and cameras, in this order. Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(self.access_file.unlink)
        application, self._application = self._application, None
        try:
            if application is not None:
                await application.aclose()
        finally:
            await self.stack.aclose()
            await self.cameras.aclose()
