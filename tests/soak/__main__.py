"""`make soak`: a busy half hour, and what grew in it.

    python -m tests.soak [--minutes 30] [--cameras 8] [--seed 1]

Eight cameras of the demo's two tenants are watched, while cameras break their connections, rules
and rates change, and viewers come and go. Each part's memory, descriptors and threads, and the
disk, are read every few seconds. The table says where each began and ended, and its slope. Exits
with 1 where the memory of Atalaia's own processes grows by more than `--mb-per-hour`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cluster.core.log import configure_logging
from cluster.core.settings import LogSettings, Settings
from cluster.demo.cast import CAST
from cluster.demo.session import DemoSession
from pipelines.domain import CameraKey
from tests.chaos.world import ROLES, World, data_dir_in, until
from tests.integration.local.helpers import free_settings
from tests.soak.activity import Activity
from tests.soak.readings import OTHERS, TITLES, UNITS, of_disk, of_processes
from tests.soak.slopes import Point, Trend, trend

READ_EVERY_S = 5.0
SETTLED_SHARE = 0.3
"""Of the run: caches and pools fill in it, so that it does not count."""

Series = dict[tuple[str, str], list[Point]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mb-per-hour", type=float, default=200.0, help="allowed growth, in all")
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"))
    console = Console()
    with tempfile.TemporaryDirectory(prefix="atalaia-soak-") as folder:
        series, done = asyncio.run(
            _run(_settings(Path(folder)), options.minutes * 60, options.cameras, options.seed)
        )
    found = {
        name: which
        for name, points in series.items()
        if (which := trend(points, options.minutes * 60 * SETTLED_SHARE)) is not None
    }
    console.print(_table(found))
    console.print("done: " + ", ".join(f"{count} {what}" for what, count in sorted(done.items())))
    grown = sum(
        which.per_hour
        for (part, figure), which in found.items()
        if figure == "memory" and part in TITLES.values()
    )
    console.print(f"memory of Atalaia's own processes: {grown:+.0f} MB per hour")
    sys.exit(1 if grown > options.mb_per_hour else 0)


def _settings(folder: Path) -> Settings:
    return Settings(**free_settings(data_dir_in(folder, Path(Settings().data_dir).resolve())))


async def _run(
    settings: Settings, seconds: float, cameras: int, seed: int
) -> tuple[Series, dict[str, int]]:
    session = DemoSession(settings)
    world = World(session, await session.start())
    try:
        keys = await _cameras(world, cameras)
        activity = Activity(world, keys, random.Random(seed))
        task = asyncio.create_task(activity.run(), name="activity")
        try:
            series = await _read(settings, seconds)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    finally:
        await session.aclose()
    return series, dict(activity.done)


async def _cameras(world: World, count: int) -> list[CameraKey]:
    """As many live cameras; those beyond the demo's own show what its first one shows."""
    own = [CameraKey(role.tenant, role.id) for role in CAST]
    role = ROLES[0]
    url = world.session.cameras._url(role, world.session.cameras.server.port)
    keys = own[:count]
    for number in range(count - len(own)):
        key = CameraKey(role.tenant, f"soak-{number}")
        body = {"id": key.camera, "name": key.camera, "url": url.get_secret_value()}
        async with world.client(key.tenant) as client:
            answer = await client.post("/v1/cameras", json={**body, "detect_fps": 1.0})
            answer.raise_for_status()
        keys.append(key)

    async def live() -> str:
        states: dict[str, str] = {}
        for tenant in sorted({key.tenant for key in keys}):
            async with world.client(tenant) as client:
                answer = (await client.get("/v1/cameras")).raise_for_status().json()
            states |= {f"{tenant}.{c['id']}": c["state"] for c in answer["cameras"]}
        wrong = {key.room: states.get(key.room) for key in keys if states.get(key.room) != "live"}
        return str(wrong or "")

    await until("live", live, within_s=180.0)
    return keys


async def _read(settings: Settings, seconds: float) -> Series:
    series: Series = defaultdict(list)
    root = psutil.Process(os.getpid())
    began = time.monotonic()
    with Progress() as progress:
        bar = progress.add_task("soaking", total=seconds)
        while (at_s := time.monotonic() - began) < seconds:
            for name, value in (await asyncio.to_thread(of_processes, root)).items():
                series[name].append(Point(at_s, value))
            disk = await asyncio.to_thread(of_disk, settings.data_dir)
            series[OTHERS, "disk"].append(Point(at_s, disk))
            progress.update(bar, completed=at_s)
            await asyncio.sleep(READ_EVERY_S)
    return series


def _table(found: dict[tuple[str, str], Trend]) -> Table:
    shown = Table("part", "figure", "first", "last", "per hour")
    for (part, figure), which in sorted(found.items()):
        unit = f" {UNITS[figure]}" if UNITS[figure] else ""
        shown.add_row(
            part,
            figure,
            f"{which.first:.0f}{unit}",
            f"{which.last:.0f}{unit}",
            f"{which.per_hour:+.1f}{unit}",
        )
    return shown


if __name__ == "__main__":
    main()
