"""Frames per second of the bare model and of the same model behind Ray Serve, in one run.

    python -m benchmarks.detector --seconds 5 --callers 4

Bare: the runtime in this process, with its own number of threads. Through Serve: one replica and
`callers` callers with one frame in flight each, over the watchers' transport. It also reports the
CPU time per frame of all processes involved, which stays comparable when other programs use the
same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil

from cluster.core.handles import SERVE_ENVIRONMENT, by_value
from cluster.core.settings import Settings, load_settings
from cluster.core.work_orders import Purpose, WorkOrders
from cluster.local.ray_folder import temporary_folder
from cluster.local.secrets import with_livekit_secret
from pipelines.clock import SystemClock
from pipelines.domain import LetterboxedFrame, WorkOwner
from pipelines.imaging import letterbox_rgb

WARM_UP_S = 2.0


def cpu_s() -> float:
    """CPU seconds so far of this process and all its children, including Ray's."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


@dataclass(frozen=True)
class Rate:
    """Frames/s, and CPU milliseconds per frame."""

    frames_per_s: float
    cpu_ms: float


def street(settings: Settings) -> LetterboxedFrame:
    """The image with a bus and four people in the ultralytics package, letterboxed."""
    from ultralytics.utils import ASSETS

    image = cv2.imread(str(ASSETS / "bus.jpg"))
    rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    detector = settings.detector
    return letterbox_rgb(rgb, (detector.input_width, detector.input_height))


def bare(settings: Settings, seconds: float) -> Rate:
    """The model alone in this process, with results in source pixels."""
    from cluster.inference.model import load_model

    frame = street(settings)
    model = load_model(settings.detector.weights, settings.detector, settings.model_cache)
    batch = [frame] * model.max_batch

    def work(end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            done += len(model.detect(batch))
        return done

    with ThreadPoolExecutor(model.parallel) as threads:
        for duration in (WARM_UP_S, seconds):
            end, used = time.perf_counter() + duration, cpu_s()
            done = sum(threads.map(work, [end] * model.parallel))
    used = cpu_s() - used
    model.close()
    return Rate(done / seconds, used / done * 1e3)


async def through_serve(
    settings: Settings, seconds: float, callers: int
) -> tuple[Rate, list[float]]:
    """The same through Serve. Also returns the duration of each call, milliseconds."""
    from ray import serve

    from serve.detector import Detector

    frame, orders = street(settings), WorkOrders.of(settings, SystemClock())
    handle = by_value(serve.run(Detector.bind(settings), name="bench", route_prefix=None))
    took_ms: list[float] = []

    async def camera(index: int, end: float) -> int:
        order = orders.issue(WorkOwner("bench", f"cam-{index}"), Purpose.DETECT)
        done = 0
        while time.perf_counter() < end:
            started = time.perf_counter()
            await handle.detect.remote(frame, order)
            took_ms.append((time.perf_counter() - started) * 1e3)
            done += 1
        return done

    for duration in (WARM_UP_S, seconds):
        took_ms.clear()
        end, used = time.perf_counter() + duration, cpu_s()
        done = sum(await asyncio.gather(*(camera(index, end) for index in range(callers))))
    return Rate(done / seconds, (cpu_s() - used) / done * 1e3), took_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.environ.update(SERVE_ENVIRONMENT)
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    import ray
    from ray import serve

    settings = with_livekit_secret(load_settings())
    with temporary_folder() as folder:
        ray.init(
            "local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder
        )
        try:
            serve.start(proxy_location="Disabled")
            for _ in range(options.rounds):  # alternating, because the speed of the machine drifts
                alone = bare(settings, options.seconds)
                rate, took = asyncio.run(through_serve(settings, options.seconds, options.callers))
                serve.delete("bench")
                p50, p95, p99 = np.percentile(took, [50, 95, 99])
                sys.stdout.write(
                    f"bare {alone.frames_per_s:.1f} frames/s, {alone.cpu_ms:.1f} CPU ms each; "
                    f"through Serve {rate.frames_per_s:.1f}, {rate.cpu_ms:.1f} ms; ratio "
                    f"{rate.frames_per_s / alone.frames_per_s:.2f} of the frames, "
                    f"{alone.cpu_ms / rate.cpu_ms:.2f} by CPU; "
                    f"call p50 {p50:.0f} p95 {p95:.0f} p99 {p99:.0f} ms\n"
                )
        finally:
            serve.shutdown()
            ray.shutdown()


if __name__ == "__main__":
    main()
