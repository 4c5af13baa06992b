"""One whole Atalaia for all chaos tests, and ways to look into it and to break parts of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from livekit import api, rtc

from cluster.controller.reports import HostStatus
from cluster.core.names import BRIDGE_ACTOR, HOST_ACTOR, WATCHER_IDENTITY
from cluster.core.settings import Settings
from cluster.core.work_orders import PLATFORM, Purpose, WorkOrders
from cluster.demo.cast import CAST
from cluster.demo.session import DemoAccess, DemoSession
from cluster.local.stack import Phase
from cluster.media.gateway_choice import make_gateway
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey

PATIENCE_S = 90.0
"""For a whole recovery on two cores that others use too; a quiet machine needs 3 to 20 s."""
POLL_S = 0.25

ROLES = tuple(role for role in CAST if role.scene is not None)
"""The two composed cameras, one of each tenant: their alarms come at known times."""
CAMERAS = frozenset(CameraKey(role.tenant, role.id) for role in ROLES)

CAMERAS_PER_HOST = 8

KEPT = ("models", "demo")
"""What takes a minute to make and is the same every time."""

Probe = Callable[[], Awaitable[str]]
"""Looks once; returns what is still wrong, '' where nothing is."""


def data_dir_in(folder: Path, kept: Path) -> Path:
    """A fresh `data_dir` below a folder, which shares what is `KEPT` with `kept`."""
    data_dir = folder / "data"
    data_dir.mkdir()
    for name in KEPT:
        (kept / name).mkdir(parents=True, exist_ok=True)
        (data_dir / name).symlink_to(kept / name, target_is_directory=True)
    return data_dir


def now_us() -> int:
    return time.time_ns() // 1000


async def until(what: str, probe: Probe, within_s: float = PATIENCE_S) -> None:
    """Wait until `probe` has nothing to complain about; fails with its last complaint."""
    complaint = "it was not looked at"
    deadline = time.monotonic() + within_s
    while complaint and time.monotonic() < deadline:
        try:
            async with asyncio.timeout(within_s):
                complaint = await probe()
        except (httpx.HTTPError, TimeoutError, ray.exceptions.RayError) as error:
            complaint = f"{type(error).__name__}: {error}"
        if complaint:
            await asyncio.sleep(POLL_S)
    if complaint:
        pytest.fail(f"not within {within_s:.0f} s: {what}: {complaint}")


@dataclass
class World:
    """A running demo with two cameras. Everything below looks from outside, as an operator does.

    Attributes:
        forgiven: alarms that may have died together with their watcher.
    """

    session: DemoSession
    access: DemoAccess
    forgiven: set[str] = field(default_factory=set)

    @property
    def settings(self) -> Settings:
        return self.session.settings

    def client(self, tenant: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.access.keys[tenant]}"}
        return httpx.AsyncClient(base_url=self.access.api, headers=headers, timeout=20.0)

    # ------------------------------------------------------------ looking

    async def states(self) -> dict[CameraKey, dict[str, Any]]:
        """Every camera as the API shows it to its tenant."""
        found: dict[CameraKey, dict[str, Any]] = {}
        for tenant in sorted({key.tenant for key in CAMERAS}):
            async with self.client(tenant) as client:
                answer = (await client.get("/v1/cameras")).raise_for_status().json()
            found |= {CameraKey(tenant, c["id"]): c for c in answer["cameras"]}
        return found

    async def hosts(self) -> list[HostStatus]:
        """What every agent host says. Telling them nothing changes nothing."""
        found: list[HostStatus] = []
        orders = WorkOrders.of(self.settings, SystemClock())
        while True:
            name = HOST_ACTOR.format(index=len(found))
            try:
                actor = await asyncio.to_thread(ray.get_actor, name, self.settings.ray.namespace)
            except ValueError:
                return found
            order = orders.issue(PLATFORM, Purpose.FLEET)
            found.append(await actor.sync.remote(order, (), ()))

    async def count(self, what: str) -> int:
        """A counter of the hosts, of all of them together."""
        return sum(host.counts.get(what, 0) for host in await self.hosts())

    async def rooms(self) -> dict[str, list[str]]:
        """Who is in each room that anybody is in; agents under the watcher's name."""
        livekit = self.settings.livekit
        secret = livekit.api_secret.get_secret_value()
        client = api.LiveKitAPI(livekit.url, livekit.api_key, secret)
        found: dict[str, list[str]] = {}
        try:
            for room in (await client.room.list_rooms(api.ListRoomsRequest())).rooms:
                request = api.ListParticipantsRequest(room=room.name)
                there = (await client.room.list_participants(request)).participants
                if there:
                    found[room.name] = sorted(p.identity for p in there)
        finally:
            await client.aclose()
        return found

    async def streams(self) -> set[str]:
        """What is on the gateway."""
        gateway = make_gateway(self.settings)
        try:
            return await gateway.names()
        finally:
            await gateway.aclose()

    async def alarm_ids(self) -> set[str]:
        """Ids of every alarm in the records, of every tenant, page by page."""
        ids: set[str] = set()
        for tenant in sorted({key.tenant for key in CAMERAS}):
            async with self.client(tenant) as client:
                cursor: str | None = None
                while True:
                    params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
                    page = (await client.get("/v1/alarms", params=params)).raise_for_status().json()
                    ids |= {alarm["id"] for alarm in page["alarms"]}
                    cursor = page.get("next_cursor")
                    if not cursor:
                        break
        return ids

    def raised_ids(self, stored_from_us: int = 0) -> set[str]:
        """Ids of every alarm that a watcher raised: its picture is stored before it is sent."""
        blobs = Path(self.settings.blob_url.removeprefix("file://"))
        return {
            picture.stem
            for picture in blobs.glob("*/alarms/*.jpg")
            if picture.stat().st_mtime * 1e6 >= stored_from_us
        }

    def watched(self, since_us: int) -> Probe:
        """Whether every camera is live, and analysed on frames captured after `since_us`."""

        async def probe() -> str:
            states = await self.states()
            if wrong := {
                k.room: (c["state"], c["reason"]) for k, c in states.items() if c["state"] != "live"
            }:
                return f"not live: {wrong}"
            if states.keys() != CAMERAS:
                return f"cameras: {sorted(states)}"
            watchers = [w for host in await self.hosts() for w in host.watchers]
            stale = [w.key.room for w in watchers if w.last_analysed_us < since_us]
            if stale or sorted(w.key for w in watchers) != sorted(CAMERAS):
                return f"watched: {[w.key.room for w in watchers]}, stale: {stale}"
            return ""

        return probe

    def all_well(self, since_us: int) -> Probe:
        """Whether every camera is `watched`, and nothing is left over: one bridge and one watcher
        in each room, and nobody else; one stream each on the gateway."""
        watched = self.watched(since_us)

        async def probe() -> str:
            if complaint := await watched():
                return complaint
            rooms = await self.rooms()
            if rooms != {key.room: ["camera", WATCHER_IDENTITY] for key in CAMERAS}:
                return f"in the rooms: {rooms}"
            streams = await self.streams()
            return "" if streams == {key.room for key in CAMERAS} else f"streams: {streams}"

        return probe

    def boxes_arrive(self, key: CameraKey) -> Probe:
        """Whether a viewer who joins now gets detections."""

        async def probe() -> str:
            async with self.client(key.tenant) as client:
                answer = (await client.post(f"/v1/cameras/{key.camera}/join")).raise_for_status()
            came = asyncio.Event()
            readers: list[asyncio.Task[None]] = []

            async def read(track: rtc.RemoteDataTrack) -> None:
                async for _ in track.subscribe():
                    came.set()

            room = rtc.Room()
            room.on(
                "data_track_published",
                lambda track: readers.append(asyncio.create_task(read(track))),
            )
            await room.connect(answer.json()["url"], answer.json()["token"])
            try:
                async with asyncio.timeout(5.0):
                    await came.wait()
            finally:
                for reader in readers:
                    reader.cancel()
                await asyncio.gather(*readers, return_exceptions=True)
                await room.disconnect()
            return ""

        return probe

    # ------------------------------------------------------------ breaking

    def actor_process(self, kind: str) -> psutil.Process:
        """The process of the one actor of a class, e.g. `ControllerService`."""
        found = self.actor_processes(kind)
        assert len(found) == 1, f"{kind}: {found}"
        return found[0]

    async def busy_worker(self, kind: str) -> psutil.Process:
        """The process of the first bridge, or agent host, that has a camera."""
        pattern = {"BridgeActor": BRIDGE_ACTOR, "HostActor": HOST_ACTOR}[kind]
        orders = WorkOrders.of(self.settings, SystemClock())
        for index in range(len(self.actor_processes(kind))):
            name = pattern.format(index=index)
            actor = await asyncio.to_thread(ray.get_actor, name, self.settings.ray.namespace)
            order = orders.issue(PLATFORM, Purpose.FLEET)
            if kind == "BridgeActor":
                busy = (await actor.status.remote(order)).cameras
            else:
                busy = (await actor.sync.remote(order, (), ())).watchers
            if busy:
                return psutil.Process(await actor.__ray_call__.remote(lambda _: os.getpid()))
        raise LookupError(f"no {kind} has a camera")

    def actor_processes(self, kind: str) -> list[psutil.Process]:
        ray_part = next(part for part in self.session.stack.status() if part.part == "ray")
        assert ray_part.pid is not None
        title = f"ray::{kind}"
        return [
            process
            for process in psutil.Process(ray_part.pid).children(recursive=True)
            if _title(process).partition(".")[0] == title
        ]

    async def kill_actor(self, kind: str) -> None:
        """SIGKILL, and wait until Ray has put another in its place."""
        await self.kill_process(kind, self.actor_process(kind))

    async def kill_process(self, kind: str, victim: psutil.Process) -> None:
        """The same for one of several processes of that class."""
        before = len(self.actor_processes(kind))
        victim.kill()

        async def replaced() -> str:
            pids = {process.pid for process in self.actor_processes(kind)}
            fresh = len(pids) >= before and victim.pid not in pids
            return "" if fresh else f"{len(pids)} of {before}"

        await until(f"another {kind}", replaced)

    def signal_server(self, part: str, number: signal.Signals) -> None:
        pid = self.session.stack._processes[part].status().pid
        assert pid is not None
        os.kill(pid, number)

    async def kill_server(self, part: str) -> None:
        """SIGKILL, and wait until its supervisor has started another."""
        process = self.session.stack._processes[part]
        restarts = process.status().restarts
        self.signal_server(part, signal.SIGKILL)

        async def replaced() -> str:
            ready = self._phase(part) is Phase.READY
            return "" if ready and process.status().restarts > restarts else self._phase(part)

        await until(f"another {part}", replaced)

    def _phase(self, part: str) -> Phase:
        return next(status.phase for status in self.session.stack.status() if status.part == part)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).split(" ")[0]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


async def start(settings: Settings) -> World:
    session = DemoSession(settings, roles=ROLES)
    return World(session, await session.start())
