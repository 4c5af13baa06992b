"""The alternative to compare with: ultralytics' `track()` on the same streams, as documented."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from cluster.core.settings import Settings
from cluster.inference.weights import resolve_weights

START_TIMEOUT_S = 180.0

_PROGRAM = """
import sys, time
from ultralytics import YOLO
weights, sources, seconds, width, height = sys.argv[1:]
seconds, frames, began = float(seconds), 0, None
for result in YOLO(weights).track(
    source=sources, stream=True, persist=True, verbose=False, imgsz=(int(height), int(width))
):
    now = time.perf_counter()
    if began is None:
        began = now + 5.0  # the first calls load and warm up
    if now >= began:
        frames += 1
    if now >= began + seconds:
        break
print(frames / seconds)
"""


def track(urls: list[str], settings: Settings, seconds: float) -> float:
    """Frames per second, summed over all streams.

    Raises:
        subprocess.CalledProcessError: ultralytics cannot read the streams.
    """
    weights = resolve_weights(settings.detector.weights, settings.model_cache)
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder) / "cameras.streams"
        sources.write_text("\n".join(urls), encoding="utf-8")
        model = Path(folder) / weights.name
        model.symlink_to(weights.path)
        answer = subprocess.run(
            [
                *(sys.executable, "-c", _PROGRAM, str(model), str(sources), str(seconds)),
                str(settings.detector.input_width),
                str(settings.detector.input_height),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S + seconds,
        )
    return float(answer.stdout.strip().splitlines()[-1])
