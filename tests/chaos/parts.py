"""The parts of a running Atalaia that a chaos run kills, and how each is found."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import psutil

from tests.chaos.world import World

Victim = Callable[[World, random.Random], Awaitable[psutil.Process]]
"""Finds the process to kill.

Raises:
    LookupError: there is none at the moment.
"""


def _of_ray(title: str) -> Victim:
    async def find(world: World, chance: random.Random) -> psutil.Process:
        found = world.actor_processes(title)
        if not found:
            raise LookupError(f"no process is called ray::{title}")
        return chance.choice(found)

    return find


def _busy(kind: str) -> Victim:
    async def find(world: World, chance: random.Random) -> psutil.Process:
        return await world.busy_worker(kind)

    return find


def _server(part: str) -> Victim:
    async def find(world: World, chance: random.Random) -> psutil.Process:
        pid = next((s.pid for s in world.session.stack.status() if s.part == part), None)
        if pid is None:
            raise LookupError(f"{part} does not run")
        return psutil.Process(pid)

    return find


PARTS: dict[str, Victim] = {
    "bridge": _busy("BridgeActor"),
    "host": _busy("HostActor"),
    "detector": _of_ray("ServeReplica:atalaia:Detector"),
    "controller": _of_ray("ControllerService"),
    "listener": _of_ray("ListenerService"),
    "api": _of_ray("ServeReplica:atalaia:Api"),
    "proxy": _of_ray("ProxyActor"),
    "serve": _of_ray("ServeController"),
    "livekit": _server("livekit"),
    "go2rtc": _server("go2rtc"),
    "valkey": _server("valkey"),
}
