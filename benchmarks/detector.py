"""Frames per second of the bare model and of the same model through Ray Serve, in one run.

    python -m benchmarks.detector --seconds 5 --callers 4

Bare: the runtime in this process, as many threads as it asks for. Through Serve: one replica,
`callers` callers with one frame in flight each, over the transport that the watchers use.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from cluster.handles import SERVE_ENVIRONMENT, by_value
from cluster.settings import Settings, load_settings
from pipelines.domain import LetterboxedFrame
from pipelines.imaging import letterbox_rgb

WARM_UP_S = 2.0


def street(settings: Settings) -> LetterboxedFrame:
    """The picture with a bus and four people that ultralytics ships."""
    from ultralytics.utils import ASSETS

    picture = cv2.imread(str(ASSETS / "bus.jpg"))
    rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    detector = settings.detector
    return letterbox_rgb(rgb, (detector.input_width, detector.input_height))


def bare(settings: Settings, seconds: float) -> float:
    """Frames/s of the model alone in this process, results in source pixels."""
    from serve.vision.model import load_model

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
            end = time.perf_counter() + duration
            done = sum(threads.map(work, [end] * model.parallel))
    model.close()
    return done / seconds


async def through_serve(
    settings: Settings, seconds: float, callers: int
) -> tuple[float, list[float]]:
    """Frames/s through Serve, and each call's milliseconds."""
    from ray import serve

    from serve.detector import Detector

    frame = street(settings)
    handle = by_value(serve.run(Detector.bind(settings), name="bench", route_prefix=None))
    took_ms: list[float] = []

    async def camera(end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            started = time.perf_counter()
            await handle.detect.remote(frame)
            took_ms.append((time.perf_counter() - started) * 1e3)
            done += 1
        return done

    for duration in (WARM_UP_S, seconds):
        took_ms.clear()
        end = time.perf_counter() + duration
        done = sum(await asyncio.gather(*(camera(end) for _ in range(callers))))
    return done / seconds, took_ms


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

    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            "local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder
        )
        try:
            serve.start(proxy_location="Disabled")
            for _ in range(options.rounds):  # alternating, because the machine drifts
                alone = bare(settings, options.seconds)
                rate, took = asyncio.run(through_serve(settings, options.seconds, options.callers))
                serve.delete("bench")
                p50, p95, p99 = np.percentile(took, [50, 95, 99])
                sys.stdout.write(
                    f"bare {alone:.1f} frames/s, through Serve {rate:.1f} "
                    f"({rate / alone:.0%}), call p50 {p50:.0f} p95 {p95:.0f} p99 {p99:.0f} ms\n"
                )
        finally:
            serve.shutdown()
            ray.shutdown()


if __name__ == "__main__":
    main()
