"""Measures how well trackers follow objects, on composed scenes whose truth is known.

    python -m benchmarks.tracking [--seeds 3] [--fps 2 5 10] [--scenes fast crowd] [--trackers ours]

The same boxes, with misses, trembling edges and ghosts, go to the pipeline's tracker and to those
of libraries. All but the processor time is the same in every run and on every machine.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from time import process_time

from rich.console import Console
from rich.table import Table

from benchmarks.tracking.metrics import Evaluation, Moment, Reported, Score, evaluate, total
from benchmarks.tracking.rivals import TRACKERS
from benchmarks.tracking.scenes import HEIGHT, SCENES, WIDTH, Frame, look

RATES = (2.0, 5.0, 10.0)
FIRST_SEED = 100
"""Of the scenes. The constants of our tracker were chosen on scenes with smaller numbers."""


@dataclass(frozen=True, slots=True)
class Result:
    """Of one tracker on one kind of scene at one rate; processor time in milliseconds per frame."""

    score: Score
    cpu_ms: float


def main() -> None:
    names = [make.__name__ for make in SCENES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="scenes of each kind")
    parser.add_argument("--fps", type=float, nargs="+", default=RATES)
    parser.add_argument("--scenes", nargs="+", choices=names, default=names)
    parser.add_argument("--trackers", nargs="+", choices=list(TRACKERS), default=list(TRACKERS))
    options = parser.parse_args()
    console = Console(width=110)
    for fps in options.fps:
        for scene in options.scenes:
            table = _table(f"{scene}, {fps:g} frames/s")
            for tracker in options.trackers:
                _add(table, tracker, measure(tracker, scene, fps, options.seeds))
            console.print(table)


def measure(tracker: str, scene: str, fps: float, seeds: int) -> Result:
    """Run one tracker on so many scenes of one kind."""
    (make,) = (make for make in SCENES if make.__name__ == scene)
    parts, frames, seconds = [], 0, 0.0
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        stream = list(look(make(seed), fps))
        part, took = _follow(tracker, stream, fps)
        parts.append(part)
        frames += len(stream)
        seconds += took
    return Result(total(parts), seconds / frames * 1e3)


def _follow(name: str, stream: list[Frame], fps: float) -> tuple[Evaluation, float]:
    tracker = TRACKERS[name](fps)
    truth: list[Moment] = []
    reported: list[Moment] = []
    began = process_time()
    for frame in stream:
        reported.append((frame.stamp.capture_us, tracker.update(frame.stamp, frame.detections)))
    took = process_time() - began
    for frame in stream:
        there = [Reported(number, box) for number, box in frame.truth.items()]
        truth.append((frame.stamp.capture_us, there))
    return evaluate(truth, reported, (WIDTH, HEIGHT)), took


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("tracker")
    for name in ("HOTA", "DetA", "AssA", "IDF1", "switches", "crossings", "invented", "ms/frame"):
        table.add_column(name, justify="right")
    return table


def _add(table: Table, tracker: str, result: Result) -> None:
    score = result.score
    shares = (score.hota, score.detection, score.association, score.idf1)
    table.add_row(
        tracker,
        *(f"{share:.3f}" for share in shares),
        str(score.switches),
        f"{score.found}/{score.crossings}",
        str(score.invented),
        f"{result.cpu_ms:.2f}",
    )


if __name__ == "__main__":
    main()
