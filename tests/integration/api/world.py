"""The pieces of a running API in tests: its servers, its clients, and what an error looks like."""

from __future__ import annotations

import asyncio
import functools
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from redis.asyncio import Redis
from starlette.routing import BaseRoute

from cluster.core.passwords import hash_password
from cluster.core.roles import Role, TenantRole
from cluster.core.settings import (
    ApiSettings,
    GatewaySettings,
    LiveKitSettings,
    RedisSettings,
    Settings,
)
from cluster.media.resolution import CameraAddresses
from cluster.stores.audit.chain import AuditEntry
from cluster.stores.audit.events import AuditQuery
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmStream, open_redis
from cluster.stores.db import Database, User
from pipelines.clock import Clock, SystemClock
from serve.api.app import create_app
from serve.api.blobs import BlobPool
from serve.api.ports import Deps
from serve.api.state import ApiState, state_of
from tests.factories import CIPHER
from tests.integration.api.ports import (
    ColourEmbedder,
    Controller,
    Hosts,
    Jobs,
    StillDetector,
    VectorMemory,
)
from tests.integration.conftest import ValkeyServer

TENANTS = ("acme", "globex")
LIVEKIT_SECRET = "a-livekit-secret-that-nobody-may-see-0001"


@dataclass
class World:
    """A running API and everything behind it."""

    url: str
    app: FastAPI
    deps: Deps
    database: Database
    redis: Redis
    detector: StillDetector
    controller: Controller
    hosts: Hosts
    jobs: Jobs
    memory: VectorMemory
    blob_pool: BlobPool
    keys: dict[str, str]
    stack: AsyncExitStack

    async def client(self, who: str | None, **options: object) -> httpx.AsyncClient:
        """A client that signs in as a tenant's admin (`acme`), with another role (`acme viewer`),
        as `platform`, or (None) not at all."""
        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who else {}
        # One for all clients: each would read the authorities' certificates anew, 25 ms.
        given: dict[str, Any] = {"verify": tls_context()} | options
        client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, **given)
        return await self.stack.enter_async_context(client)

    @property
    def state(self) -> ApiState:
        return state_of(self.app)

    async def link(self, who: str, key: str, media_type: str, filename: str = "") -> str:
        """A signed link to a blob of a tenant, for its admin's key (`acme`) or another one's."""
        principal = await self.database.platform().find_key(self.keys[who])
        assert principal is not None
        assert principal.tenant is not None
        links = self.state.evidence.links
        return links.link(principal.tenant, key, media_type, filename, by=principal)

    def stream(self, tenant: str) -> AlarmStream:
        return AlarmStream(self.redis, tenant)

    def blobs(self, tenant: str) -> TenantBlobs:
        return self.blob_pool(tenant)


@dataclass
class Frail:
    """A world whose Redis is its own, to be stopped and started."""

    world: World
    redis: ValkeyServer


@functools.cache
def tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


class PromptServer(uvicorn.Server):
    """Ends as soon as it is told to: uvicorn looks each tenth of a second, and then waits another
    for connections, which here have been closed before."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def stop(self) -> None:
        self._told.set()

    async def main_loop(self) -> None:
        ticking = asyncio.create_task(super().main_loop())
        await self._told.wait()
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        open_now = self.server_state.connections or self.server_state.tasks
        if open_now:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
            await server.wait_closed()
        await self.lifespan.shutdown()


@asynccontextmanager
async def served(app: FastAPI, port: int = 0) -> AsyncIterator[str]:
    """The application under uvicorn on a port of loopback; 0: a free one."""
    server = PromptServer(
        uvicorn.Config(app, port=port, log_level="error", lifespan="on", forwarded_allow_ips="")
    )
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.stop()
        await task


def make_settings(data_dir: Path, redis_url: str) -> Settings:
    return Settings(
        data_dir=data_dir,
        redis=RedisSettings(url=SecretStr(redis_url)),
        livekit=LiveKitSettings(
            public_url="wss://live.example",
            api_secret=SecretStr(LIVEKIT_SECRET),
        ),
        # The addresses of examples (RFC 5737), where no camera ever is.
        gateway=GatewaySettings(allow=("private", "public", "192.0.2.0/24")),
        api=ApiSettings(max_upload_mb=2, max_image_megapixels=40),
    )


_INCLUDED: dict[int, BaseRoute] = {}


def _share_routes(app: FastAPI) -> None:
    """Let all applications of this process have the first one's included routers.

    FastAPI builds an application's routes at its first request, which takes more processor time
    (0.12 s) than most tests. They are the same in each: what differs lies in the state.
    """
    for n, route in enumerate(app.router.routes):
        if (router := getattr(route, "original_router", None)) is not None:
            app.router.routes[n] = _INCLUDED.setdefault(id(router), route)


@dataclass(frozen=True)
class Seeded:
    """A database with the tenants, as bytes, and the keys to it: by tenant, by `<tenant> <role>`,
    and of the platform."""

    database: bytes
    keys: dict[str, str]


_BY_SYSTEM_CLOCK: dict[Path, Seeded] = {}


async def _seeded(migrated: Path, clock: Clock | None) -> Seeded:
    """Tenants and keys take longer than most tests, so they are made once for each `migrated`; by
    a clock of the test's own, each time."""
    if clock is not None:
        return await _seed(migrated, clock)
    if migrated not in _BY_SYSTEM_CLOCK:
        _BY_SYSTEM_CLOCK[migrated] = await _seed(migrated, None)
    return _BY_SYSTEM_CLOCK[migrated]


async def _seed(migrated: Path, clock: Clock | None) -> Seeded:
    path = migrated.with_name(f"seeded-{uuid4()}.db")
    await asyncio.to_thread(shutil.copy, migrated, path)
    async with Database(f"sqlite+aiosqlite:///{path}", cipher=CIPHER, clock=clock) as database:
        platform = database.platform()
        keys = {"platform": (await platform.create_key(None, "operator")).secret}
        for tenant in TENANTS:
            await platform.ensure_tenant(tenant, tenant.title())
            keys[tenant] = (await platform.create_key(tenant, "tests")).secret
            for role in get_args(TenantRole):
                issued = await platform.create_key(tenant, f"tests {role}", role)
                keys[f"{tenant} {role}"] = issued.secret
    try:
        # The last connection to close has put the write-ahead log into the file.
        return Seeded(await asyncio.to_thread(path.read_bytes), keys)
    finally:
        path.unlink()


@asynccontextmanager
async def open_world(
    settings: Settings, migrated: Path, clock: Clock | None = None, *, port: int = 0
) -> AsyncIterator[World]:
    """An API with the tenants acme and globex, over an empty Redis and a copy of `migrated`."""
    path = Path(settings.database_url.removeprefix("sqlite+aiosqlite:///"))
    seeded = await _seeded(migrated, clock)
    await asyncio.to_thread(path.parent.mkdir, parents=True)
    await asyncio.to_thread(path.write_bytes, seeded.database)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(settings.database_url, cipher=CIPHER, clock=clock)
        )
        redis = await stack.enter_async_context(open_redis(settings.redis_url))
        await redis.flushall()
        detector, controller, hosts, jobs = StillDetector(), Controller(), Hosts(), Jobs()
        memory = VectorMemory(path.parent / "qdrant")
        stack.push_async_callback(memory.aclose)
        blob_pool = BlobPool(settings.blob_url)
        stack.push_async_callback(blob_pool.aclose)
        addresses = CameraAddresses.of(settings)
        stack.callback(addresses.close)
        deps = Deps(
            settings=settings,
            clock=clock or SystemClock(),
            database=database,
            redis=redis,
            detector=detector,
            embedder=ColourEmbedder(),
            memory=memory,
            controller=controller,
            hosts=hosts,
            jobs=jobs,
            blobs=blob_pool,
            addresses=addresses,
        )
        app = create_app(deps)
        _share_routes(app)
        url = await stack.enter_async_context(served(app, port))
        yield World(
            url,
            app,
            deps,
            database,
            redis,
            detector,
            controller,
            hosts,
            jobs,
            memory,
            blob_pool,
            dict(seeded.keys),
            stack,
        )


PASSWORD = "correct horse battery staple"


@functools.cache
def _hash_of_password() -> SecretStr:
    """Of PASSWORD, for all users: making one takes 0.16 s of processor time."""
    return SecretStr(hash_password(PASSWORD))


async def add_user(world: World, tenant: str, role: Role, name: str = "") -> User:
    """A user `<name or role>@<tenant>.example` with PASSWORD."""
    hashed = await asyncio.to_thread(_hash_of_password)
    email = f"{name or role}@{tenant}.example"
    return await world.database.users(tenant).add(email, name or str(role), role, hashed)


async def sign_in(
    client: httpx.AsyncClient, user: User, /, tenant: str = "acme", **body: str
) -> httpx.Response:
    """Ask for tokens with PASSWORD; `body` replaces what is sent."""
    whole = {"tenant": tenant, "email": user.email, "password": PASSWORD, "client": "program"}
    return await client.post("/v1/auth/login", json=whole | body)


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    """Wait until `holds()`; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.02)


async def logged(world: World, chain: str) -> list[AuditEntry]:
    """The audit log of a tenant, newest first, once all that waits is written."""

    async def written() -> bool:
        return world.state.auditor.health().waiting == 0

    await eventually(written, within_s=30)
    return (await world.database.audit_chain(chain).page(AuditQuery(limit=100))).items


def problem(response: httpx.Response, status: int, code: str | None = None) -> dict[str, object]:
    """The problem document of an answer, checked to be a whole one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert body["status"] == status
    assert {"type", "title", "detail", "code"} <= body.keys()
    assert "Traceback" not in response.text
    if code is not None:
        assert body["code"] == code
    return body
