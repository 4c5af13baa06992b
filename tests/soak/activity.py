"""What goes on during a soak: cameras that break, rules that change, viewers who come and go."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx

from cluster.demo.cast import CAST
from pipelines.domain import CameraKey
from tests.chaos.viewer import BoxViewer
from tests.chaos.world import ROLES, World

PAUSE_S = (0.5, 4.0)
"""Between two events, at random."""
STAY_S = (2.0, 20.0)
"""How long a viewer stays."""
MAX_VIEWERS = 6
OWN = frozenset(CameraKey(role.tenant, role.id) for role in CAST)
RULE = {
    "id": "soak",
    "kind": "zone_entry",
    "polygon": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]],
    "cooldown_s": 5.0,
}


class Activity:
    """Does something to a random camera now and then, for as long as it runs.

    Attributes:
        done: how often each was done; what the API refused under `refused`.
    """

    def __init__(self, world: World, cameras: list[CameraKey], chance: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self._world = world
        self._cameras = cameras
        self._chance = chance
        self._viewers: set[asyncio.Task[None]] = set()
        self._ways: dict[str, Callable[[CameraKey], Awaitable[None]]] = {
            "reconnect": self._reconnect,
            "rule": self._change_rule,
            "rate": self._change_rate,
            "viewer": self._watch,
        }

    async def run(self) -> None:
        """Until it is cancelled; then no viewer is left. Everything is done once, in a random
        order, before anything is done again."""
        try:
            while True:
                for what in self._chance.sample(list(self._ways), len(self._ways)):
                    await asyncio.sleep(self._chance.uniform(*PAUSE_S))
                    await self._do(what, self._chance.choice(self._cameras))
        finally:
            for viewer in self._viewers:
                viewer.cancel()
            await asyncio.gather(*self._viewers, return_exceptions=True)

    async def _do(self, what: str, key: CameraKey) -> None:
        try:
            await self._ways[what](key)
            self.done[what] += 1
        except httpx.HTTPError:
            self.done["refused"] += 1

    async def _reconnect(self, key: CameraKey) -> None:
        """As a bad cable would; added cameras share the connection of the first one's footage."""
        shown = key if key in OWN else CameraKey(ROLES[0].tenant, ROLES[0].id)
        self._world.session.cameras.server.disconnect(f"{shown.tenant}-{shown.camera}")

    async def _change_rule(self, key: CameraKey) -> None:
        path = f"/v1/cameras/{key.camera}/rules"
        async with self._world.client(key.tenant) as client:
            (await client.post(path, json={**RULE, "name": "Soak"})).raise_for_status()
            (await client.delete(f"{path}/{RULE['id']}")).raise_for_status()

    async def _change_rate(self, key: CameraKey) -> None:
        body = {"detect_fps": self._chance.choice((1.0, 2.0, 3.0))}
        async with self._world.client(key.tenant) as client:
            (await client.patch(f"/v1/cameras/{key.camera}", json=body)).raise_for_status()

    async def _watch(self, key: CameraKey) -> None:
        if len(self._viewers) >= MAX_VIEWERS:
            return
        task = asyncio.create_task(self._stay(key, self._chance.uniform(*STAY_S)))
        self._viewers.add(task)
        task.add_done_callback(self._viewers.discard)

    async def _stay(self, key: CameraKey, seconds: float) -> None:
        viewer = BoxViewer(self._world.client(key.tenant), key)
        viewer.start()
        try:
            await asyncio.sleep(seconds)
        finally:
            await viewer.aclose()
