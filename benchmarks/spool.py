"""What an alarm costs that goes to the spool: append, and replay after Redis is back.

    python -m benchmarks.spool [--alarms 1000] [--folder .]

Two sizes: an alarm as it is (its JPEG lies in the blob storage, the alarm names it), and one of
30 kB, as if it carried its JPEG. Beside the spool the floor: the same bytes, appended to a plain
file and flushed. The folder must lie on the disk that is measured: /tmp may be memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from cluster.stores.bus import AlarmSpool
from pipelines.domain import Alarm, RuleKind, Stages

JPEG_BYTES = 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alarms", type=int, default=1000, help="of each size")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure")
    options = parser.parse_args()
    table = Table(title="The alarm spool", title_justify="left")
    for name in ("what", "bytes each", "p50", "p99", "whole"):
        table.add_column(name)
    with tempfile.TemporaryDirectory(prefix="atalaia-bench-", dir=options.folder) as folder:
        asyncio.run(_run(Path(folder), options.alarms, table))
    Console().print(table)


async def _run(folder: Path, count: int, table: Table) -> None:
    for padding in (0, JPEG_BYTES):
        alarms = [_alarm(n, padding) for n in range(count)]
        size = len(alarms[0].model_dump_json())
        _add(table, "floor: write + fsync", size, _floor(folder / f"floor-{size}", alarms))
        spool = AlarmSpool(folder / f"{size}.spool", max_bytes=1 << 30)
        await spool.open()
        _add(table, "append", size, await _each(alarms, spool.append))
        await spool.aclose()
        began = time.perf_counter()
        spool = AlarmSpool(folder / f"{size}.spool", max_bytes=1 << 30)
        await spool.open()
        _add(table, "open", size, [time.perf_counter() - began])
        _add(table, "replay, per alarm", size, await _replay(spool, count))
        await spool.aclose()


def _alarm(number: int, padding: int) -> Alarm:
    return Alarm(
        id=uuid4(),
        tenant="acme",
        camera="gate",
        rule="yard",
        kind=RuleKind.ZONE_ENTRY,
        label="person",
        confidence=0.87,
        box=(0.1, 0.2, 0.3, 0.4),
        track=f"track-{number}",
        episode=0,
        frame_id=number,
        stages=Stages(capture_us=1_700_000_000_000_000 + number),
        snapshot=f"alarms/{number}.jpg" + "x" * padding,
    )


def _floor(path: Path, alarms: list[Alarm]) -> list[float]:
    times = []
    with path.open("ab", buffering=0) as file:
        for alarm in alarms:
            began = time.perf_counter()
            file.write(alarm.model_dump_json().encode())
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return times


async def _each(alarms: list[Alarm], append: Callable[[Alarm], Awaitable[None]]) -> list[float]:
    times = []
    for alarm in alarms:
        began = time.perf_counter()
        await append(alarm)
        times.append(time.perf_counter() - began)
    return times


async def _replay(spool: AlarmSpool, count: int) -> list[float]:
    """Seconds from one alarm to the next; every 64th waits for the disk."""
    taken = [time.perf_counter()]

    async def publish(_: Alarm) -> None:
        taken.append(time.perf_counter())

    drained = await spool.drain(publish)
    if drained != count:
        raise RuntimeError(f"{drained} of {count} alarms came back")
    return [after - before for before, after in itertools.pairwise(taken)]


def _add(table: Table, what: str, size: int, times: list[float]) -> None:
    whole = sum(times)
    cuts = quantiles(times, n=100) if len(times) > 1 else [whole] * 99
    table.add_row(
        what, f"{size:,}", f"{cuts[49] * 1e3:.3f} ms", f"{cuts[98] * 1e3:.3f} ms", f"{whole:.2f} s"
    )


if __name__ == "__main__":
    main()
