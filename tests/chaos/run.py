"""One chaos run: viewers, kills, and what the records hold in the end."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psutil
from rich.console import Console

from cluster.demo.expected import expected_alarms
from cluster.demo.scene import Stage
from pipelines.domain import LoiterRule, Rule
from tests.chaos.figures import Blind, Expected, Raised, seconds_to_covered, tally
from tests.chaos.parts import PARTS
from tests.chaos.report import Kill, Outcome
from tests.chaos.viewer import BoxViewer
from tests.chaos.world import CAMERAS, ROLES, World, now_us, until

GIVE_UP_S = 90.0
"""A part that is not back by then has not come back."""
CALM_S = 5.0
"""At most so long after everything is well the next kill comes, at a random moment."""
SETTLE_S = 6.0
"""Alarms of the last moments reach the records in this time."""
POLL_S = 0.2


class ChaosRun:
    """Kills parts of a world one after the other, and notes how long viewers were blind."""

    def __init__(self, world: World, chance: random.Random, console: Console) -> None:
        self._world = world
        self._chance = chance
        self._console = console
        self._viewers = {key: BoxViewer(world.client(key.tenant), key) for key in CAMERAS}
        self._kills: list[Kill] = []
        self._blinds: list[Blind] = []
        self._since_us = 0

    async def __aenter__(self) -> Self:
        await until("live", self._world.all_well(0))
        for viewer in self._viewers.values():
            viewer.start()
        await until("boxes", self._boxes)
        self._since_us = now_us()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(viewer.aclose() for viewer in self._viewers.values()))

    async def _boxes(self) -> str:
        blind = [key.room for key, viewer in self._viewers.items() if len(viewer.arrivals) < 10]
        return f"no boxes of {blind}" if blind else ""

    async def kill_each(self, parts: list[str], times: int) -> None:
        """Kill each part so often, all in a random order."""
        order = [part for part in parts for _ in range(times)]
        self._chance.shuffle(order)
        for number, part in enumerate(order, 1):
            await asyncio.sleep(self._chance.uniform(0.0, CALM_S))
            kill = await self._kill(part)
            self._kills.append(kill)
            took = "not covered again" if kill.covered_s is None else f"{kill.covered_s:.1f} s"
            self._console.print(f"{number}/{len(order)} {part}: {took}")

    async def _kill(self, part: str) -> Kill:
        victim = await self._victim(part)
        killed_s, killed_us = time.monotonic(), now_us()
        victim.kill()
        deadline = killed_s + GIVE_UP_S
        found: dict[str, float | None] = dict.fromkeys((k.room for k in self._viewers), None)
        while None in found.values() and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
            for key, viewer in self._viewers.items():
                found[key.room] = seconds_to_covered(viewer.arrivals, killed_s, time.monotonic())
        for room, took in found.items():
            if took != 0.0:
                until_s = killed_us / 1e6 + (GIVE_UP_S if took is None else took)
                self._blinds.append(Blind(room, killed_us / 1e6, until_s))
        await until(f"{part} is back", self._world.watched(killed_us))
        times = [took for took in found.values() if took is not None]
        return Kill(part, max(times) if len(times) == len(found) else None)

    async def _victim(self, part: str) -> psutil.Process:
        """What to kill. A part that is just being replaced is waited for."""
        found: list[psutil.Process] = []

        async def find() -> str:
            try:
                found.append(await PARTS[part](self._world, self._chance))
            except LookupError as error:
                return str(error)
            return ""

        await until(f"{part} runs", find)
        return found[0]

    async def outcome(self) -> Outcome:
        """What was found, once the records hold the last alarms."""
        until_s = time.time()
        await asyncio.sleep(SETTLE_S)
        since_s = self._since_us / 1e6
        rules = {rule.id for role in ROLES for rule in role.rules}
        raised = [
            one
            for one in await self._raised()
            if since_s <= one.at_s <= until_s and one.rule in rules
        ]
        alarms = tally(self._expected(since_s + 1.0, until_s - 2.0), raised, self._blinds)
        return Outcome(tuple(self._kills), alarms)

    def _expected(self, since_s: float, until_s: float) -> list[Expected]:
        begun_s = self._world.session.cameras.started_us / 1e6
        found: list[Expected] = []
        for role in ROLES:
            assert role.scene is not None
            watched = {rule.id: _watched_s(rule) for rule in role.rules}
            truth = Stage(role.scene, (640, 360)).truth()
            for alarm in expected_alarms(truth, role.rules):
                at_s = begun_s + alarm.at_s
                while at_s < until_s:
                    if at_s >= since_s:
                        room = f"{role.tenant}.{role.id}"
                        found.append(Expected(room, alarm.rule, at_s, watched[alarm.rule]))
                    at_s += role.scene.duration_s
        return found

    async def _raised(self) -> list[Raised]:
        found: list[Raised] = []
        for tenant in sorted({key.tenant for key in CAMERAS}):
            async with self._world.client(tenant) as client:
                cursor: str | None = None
                while True:
                    params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
                    page = (await client.get("/v1/alarms", params=params)).raise_for_status().json()
                    found += [_read(tenant, alarm) for alarm in page["alarms"]]
                    cursor = page.get("next_cursor")
                    if not cursor:
                        break
        return found


def _watched_s(rule: Rule) -> float:
    """How long a rule looks before it fires, and what a track needs to be confirmed."""
    seconds = getattr(rule, "seconds", 0.0)
    return float(seconds) + (4.0 if isinstance(rule, LoiterRule) else 2.0)


def _read(tenant: str, alarm: dict[str, Any]) -> Raised:
    at_s = datetime.fromisoformat(alarm["at"]).timestamp()
    return Raised(alarm["id"], f"{tenant}.{alarm['camera']}", alarm["rule"], at_s)
