"""Jobs of LiveKit: each becomes a watcher, in its own thread; the host's loop has the list."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.livekit_jobs import WatcherJobs
from agents.plans import PlanBook
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey, CameraPlan
from tests.unit.agents.host_parts import make_plan, turns

GATE = make_plan().key
ROOM = GATE.room


class Context:
    """What livekit-agents gives a job."""

    def __init__(self, room: str = ROOM) -> None:
        self.job = SimpleNamespace(room=SimpleNamespace(name=room))
        self.room = object()
        self.connected = False
        self.reasons: list[str] = []
        self._ends: list[Callable[[str], Awaitable[None]]] = []

    async def connect(self, auto_subscribe: object) -> None:
        self.connected = True

    def shutdown(self, reason: str) -> None:
        self.reasons.append(reason)

    def add_shutdown_callback(self, end: Callable[[str], Awaitable[None]]) -> None:
        self._ends.append(end)

    async def end(self) -> None:
        for end in self._ends:
            await end("over")


class FakeWatcher:
    def __init__(self, key: CameraKey, room: object, plan: CameraPlan) -> None:
        self.key, self.room, self.plan = key, room, plan
        self.loop = asyncio.get_running_loop()
        self.started = self.closed = False

    async def start(self) -> None:
        self.started = True

    async def aclose(self) -> None:
        self.closed = True


class World:
    def __init__(self) -> None:
        self.plans = PlanBook(wait_s=0.003, poll_s=0.001)
        self.plans.update([make_plan()], [])
        make = cast("Any", FakeWatcher)
        self.jobs = WatcherJobs(LiveKitSettings(), 4, self.plans, make)

    async def job(self, room: str = ROOM) -> Context:
        context = Context(room)
        await self.jobs.watch(cast("Any", context))
        await asyncio.sleep(0)
        return context

    @property
    def watcher(self) -> FakeWatcher | None:
        return cast("FakeWatcher | None", self.jobs.watcher(GATE))


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_job_becomes_a_watcher_and_goes_with_it(world: World) -> None:
    context = await world.job()
    watcher = world.watcher
    assert watcher is not None
    assert context.connected
    assert watcher.started
    assert (watcher.key, watcher.room, watcher.plan) == (GATE, context.room, make_plan())
    assert world.jobs.watchers == (watcher,)
    await context.end()
    await asyncio.sleep(0)
    assert watcher.closed
    assert world.jobs.watchers == ()
    assert world.watcher is None


@pytest.mark.parametrize("room", ["lobby", "acme.yard"])
async def test_a_room_without_a_camera_of_ours_is_not_joined(world: World, room: str) -> None:
    context = await world.job(room)
    assert context.reasons == ["no camera of ours"]
    assert not context.connected
    assert world.jobs.watchers == ()


async def test_a_later_job_takes_the_place_of_another_and_keeps_it(world: World) -> None:
    first = await world.job()
    second = await world.job()
    newer = world.watcher
    assert newer is not None
    assert newer.room is second.room
    await first.end()
    await asyncio.sleep(0)
    assert world.watcher is newer


async def test_watchers_end_when_their_camera_is_removed_or_disabled(world: World) -> None:
    context = await world.job()
    world.jobs.end_unwanted()
    await asyncio.sleep(0)
    assert context.reasons == []
    world.plans.update([make_plan(2, enabled=False)], [])
    world.jobs.end_unwanted()
    await asyncio.sleep(0)
    world.plans.update([], [GATE])
    world.jobs.end_unwanted()
    await asyncio.sleep(0)
    assert context.reasons == ["the camera was removed"] * 2


async def test_a_watcher_that_hangs_is_dropped(world: World) -> None:
    context = await world.job()
    world.jobs.drop(CameraKey("acme", "yard"))
    world.jobs.drop(GATE)
    await asyncio.sleep(0)
    assert context.reasons == ["dropped by the controller"]


async def test_a_job_in_another_thread_enters_and_leaves_the_list_on_the_loop_of_the_host(
    world: World,
) -> None:
    context = Context()

    async def job() -> asyncio.AbstractEventLoop:
        await world.jobs.watch(cast("Any", context))
        return asyncio.get_running_loop()

    loop = await asyncio.to_thread(asyncio.run, job())
    await turns(lambda: world.watcher is not None)
    watcher = world.watcher
    assert watcher is not None
    assert watcher.loop is loop
    assert loop is not asyncio.get_running_loop()
    await asyncio.to_thread(asyncio.run, context.end())
    await turns(lambda: world.watcher is None)
    assert watcher.closed
