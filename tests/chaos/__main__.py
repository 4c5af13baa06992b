"""`make chaos`: kills random parts of a running demo at random moments; prints what that cost.

    python -m tests.chaos [--kills 3] [--part bridge --part host] [--seed 1] [--busy 1]

Each part is killed as often as `--kills` says, in a random order. Viewers of every camera note when
boxes come; the two composed cameras raise alarms at known moments. At the end one table says per
part how long a viewer was without boxes, and what became of the alarms. Exits with 1 where an alarm
was lost or doubled, or a part did not come back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cluster.core.log import configure_logging
from cluster.core.settings import LogSettings, Settings
from tests.chaos.parts import PARTS
from tests.chaos.report import table
from tests.chaos.run import ChaosRun
from tests.chaos.world import data_dir_in, start
from tests.integration.local.helpers import free_settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=3, help="of each part (default: 3)")
    parser.add_argument(
        "--part", action="append", choices=sorted(PARTS), help="only this; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=None, help="order and moments; printed")
    parser.add_argument(
        "--busy", type=int, default=1, help="processes that compute beside it (default: 1)"
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 16)
    console = Console()
    configure_logging(LogSettings(level="warning"))
    console.print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="atalaia-chaos-") as folder, _load(options.busy):
        settings = _settings(Path(folder))
        parts = options.part or list(PARTS)
        try:
            good = asyncio.run(_run(settings, parts, options.kills, random.Random(seed), console))
        except pytest.fail.Exception as failure:  # a part did not come back at all
            console.print(str(failure))
            good = False
    sys.exit(0 if good else 1)


async def _run(
    settings: Settings, parts: list[str], kills: int, chance: random.Random, console: Console
) -> bool:
    console.print("starting the demo …")
    world = await start(settings)
    try:
        async with ChaosRun(world, chance, console) as run:
            await run.kill_each(parts, kills)
            outcome = await run.outcome()
    finally:
        await world.session.aclose()
    console.print(table(outcome))
    for line in outcome.complaints():
        console.print(line)
    return not outcome.complaints()


def _settings(folder: Path) -> Settings:
    return Settings(**free_settings(data_dir_in(folder, Path(Settings().data_dir).resolve())))


@contextlib.contextmanager
def _load(count: int) -> Iterator[None]:
    busy = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(count)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.join()


def _compute() -> None:
    while True:
        sum(range(10_000))


if __name__ == "__main__":
    main()
