"""`make bench`: measures the whole product on this machine in one run.

    python -m benchmarks [--seconds 20] [--cameras 4]

Ratios matter, not absolute numbers. The bare model, the full stack, and the alternative that a user
would choose (`ultralytics … track()` on the same RTSP streams) are measured one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import attention, detector, fairness, reprocess, rival, search
from benchmarks.latency import Latencies, measure_latency
from benchmarks.resources import Usage, per_added_camera, watch
from benchmarks.stage import Stage
from cluster.core.log import configure_logging
from cluster.core.settings import LogSettings, Settings

WARM_UP_S = 10.0
REMEMBERED = 100_000
SATURATING_FPS = 25.0
CALM_FPS = 5.0
ATTENTION_SEEDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--cameras", type=int, default=4)
    options = parser.parse_args()
    console = Console()
    configure_logging(LogSettings(level="warning"))
    with tempfile.TemporaryDirectory(prefix="atalaia-bench-") as folder:
        settings = Stage.settings(Path(folder))
        console.print(asyncio.run(_run(settings, options.seconds, options.cameras, console)))


async def _run(settings: Settings, seconds: float, cameras: int, console: Console) -> Table:
    console.print("bare model …")
    bare = (await asyncio.to_thread(detector.bare, settings, seconds)).frames_per_s
    async with Stage(settings, cameras) as stage:
        console.print(f"{cameras} cameras at {CALM_FPS:g} analysed frames/s: latency …")
        await stage.all_live(CALM_FPS)
        await asyncio.sleep(WARM_UP_S)
        latencies, many = await asyncio.gather(
            measure_latency(stage, max(seconds, stage.loop_s * 2)), watch(seconds)
        )
        console.print("one camera: CPU and memory …")
        await stage.keep(1)
        await asyncio.sleep(WARM_UP_S)
        one = await watch(seconds)
        console.print("saturation …")
        await stage.keep(cameras)
        await stage.all_live(SATURATING_FPS)
        await asyncio.sleep(WARM_UP_S)
        full, busy = await asyncio.gather(stage.analysed_fps(seconds), watch(seconds))
        await stage.keep(0)
        console.print("ultralytics track() on the same streams …")
        tracked = await asyncio.to_thread(rival.track, stage.urls, settings, seconds)
        console.print("reprocessing a video …")
        again = await reprocess.measure(settings, seconds * 6, None)
    console.print(f"search among {REMEMBERED:,} objects …")
    searched = await search.measure(REMEMBERED)
    console.print("one camera beside a busy tenant …")
    shared = await asyncio.to_thread(fairness.simulate, settings.detector, seconds)
    console.print("attention …")
    attentive = await asyncio.to_thread(lambda: list(attention.rows(ATTENTION_SEEDS)))
    each = per_added_camera(one, many, cameras - 1)
    table = _table(bare, full, tracked, latencies, each, busy)
    for row in again.rows():
        table.add_row(*row)
    search.add_rows(table, searched)
    fairness.add_rows(table, shared)
    attention.add_rows(table, attentive)
    return table


def _table(
    bare: float,
    full: float,
    tracked: float,
    latencies: Latencies,
    usage: dict[str, Usage],
    busy: dict[str, Usage],
) -> Table:
    table = Table(title="Atalaia on this machine", title_justify="left")
    for name in ("what", "measured", "aim"):
        table.add_column(name)
    table.add_row("bare model", f"{bare:.1f} frames/s", "")
    table.add_row("full stack, saturated", f"{full:.1f} analysed frames/s", "")
    table.add_row("  ratio to the bare model", f"{full / bare:.2f}", "≥ 0.80")
    # Cameras, gateway, SFU, bridge and decoding share the cores with the model. The ratio per core
    # separates what they take from the cost of calling the model through Serve.
    cores = psutil.cpu_count() or 1
    detector_cores = busy["detector"].cpu_percent / 100
    per_core = (full / detector_cores) / (bare / cores)
    table.add_row("  ratio per core that the model had", f"{per_core:.2f}", "")
    for part, cost in busy.items():
        table.add_row(f"  processor time: {part}", f"{cost.cpu_percent:.0f} % of a core", "")
    table.add_row("ultralytics track(), same streams", f"{tracked:.1f} frames/s", "")
    table.add_row("  ours against it", f"{full / tracked:.1f}x" if tracked else "-", "≥ 4x")
    for stage, (p50, p95, p99) in latencies.stages.items():
        aim = "p95 ≤ 300 ms" if stage == "total" else ""
        table.add_row(
            f"capture to SSE: {stage}", f"p50 {p50:.0f}  p95 {p95:.0f}  p99 {p99:.0f} ms", aim
        )
    table.add_row("  alarms measured", str(latencies.alarms), "")
    for part, cost in usage.items():
        table.add_row(
            f"per added camera: {part}",
            f"{cost.cpu_percent:.1f} % of a core, {cost.rss_mb:.1f} MB",
            "≤ 8 %, ≤ 12 MB" if part == "all" else "",
        )
    return table


if __name__ == "__main__":
    main()
