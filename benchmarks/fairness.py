"""What a tenant with one camera gets beside one with fifty and a flood of `/v1/detect`.

    python -m benchmarks.fairness --seconds 20 [--real]

The detector's queue with a model that sees nothing and takes its time, 66 frames a second with
three calls at once, as OpenVINO on two cores. Time is virtual, so every run gives the same numbers
on every machine. With `--real`, the configured model itself in real time. The lone camera alone is
compared with the same camera beside the others: once with everybody in one queue, first come,
first served, and once as they are queued now.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.detector import street
from benchmarks.virtual_time import VirtualLoop
from cluster.core.settings import DetectorSettings, Settings, load_settings
from cluster.inference.batching import Batcher
from cluster.inference.lanes import Lane
from cluster.inference.model import load_model
from pipelines.domain import CameraKey, Letterbox, LetterboxedFrame, WorkOwner
from pipelines.errors import UnavailableError
from pipelines.sampling import grid_phase
from serve.detector import MAX_WAITING

FRAMES_PER_S, PARALLEL = 66.0, 3
SPREAD = 0.2
"""By how much a call is longer or shorter. Without it workers that began together would go on in
step, as those of no real model do."""
LONE_FPS, BUSY_FPS = 5.0, 25.0
BUSY_CAMERAS = 50
CALLERS = 32
"""Of `/v1/detect`: as many pictures of one tenant as an API replica takes at once."""
WARM_UP_S = 2.0
RETRY_S = 0.05
"""How long a refused caller of the flood waits: less than the API asks for."""

LONE = CameraKey("lone", "gate")
EVERYBODY = WorkOwner("everybody", "one queue")

Model = Callable[[Sequence[LetterboxedFrame]], Sequence[object]]


class LoopClock:
    """The time of the running loop, which may be virtual."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now_us(self) -> int:
        return round(self.monotonic() * 1e6)


@dataclass(frozen=True, slots=True)
class Machine:
    """A model, and a frame for it."""

    run: Model
    frame: LetterboxedFrame
    max_batch: int
    parallel: int
    max_wait_s: float


@dataclass
class Share:
    """What somebody got: how long each answer took, milliseconds, and how many were none."""

    took_ms: list[float] = field(default_factory=list)
    refused: int = 0

    def rate(self, seconds: float) -> float:
        """Answers per second."""
        return len(self.took_ms) / seconds

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.took_ms, 95))


@dataclass
class Run:
    """One measurement: what the lone camera, the fifty and the flood got in so many seconds."""

    seconds: float
    lone: Share = field(default_factory=Share)
    busy: Share = field(default_factory=Share)
    flood: Share = field(default_factory=Share)


@dataclass(frozen=True, slots=True)
class FairnessBench:
    """The lone camera alone, and beside the others: in one queue for all, and as it is now."""

    alone: Run
    one_queue: Run
    fair: Run


class _Callers:
    """Everybody who calls the detector during one run."""

    def __init__(self, machine: Machine, run: Run, *, fair: bool) -> None:
        self._machine = machine
        self._fair = fair
        self._clock = LoopClock()
        self._batcher: Batcher[LetterboxedFrame, object] = Batcher(
            machine.run,
            max_batch=machine.max_batch,
            parallel=machine.parallel,
            wait_s=0.002,
            max_waiting=MAX_WAITING,
            max_wait_s=machine.max_wait_s if fair else None,
            clock=self._clock,
        )
        self._counting_from = self._clock.monotonic() + WARM_UP_S
        self._end = self._counting_from + run.seconds

    async def camera(self, key: CameraKey, fps: float, share: Share) -> None:
        """One frame in flight, on the camera's own grid; what comes meanwhile is skipped."""
        phase = grid_phase(key)
        while (now := self._clock.monotonic()) < self._end:
            await asyncio.sleep((1 - (now * fps - phase) % 1) / fps)
            await self._ask(WorkOwner(*key), Lane.LIVE, share)

    async def caller(self, owner: WorkOwner, share: Share) -> None:
        """Sends one picture after the other."""
        while self._clock.monotonic() < self._end:
            if not await self._ask(owner, Lane.INTERACTIVE, share):
                await asyncio.sleep(RETRY_S)

    async def aclose(self) -> None:
        await self._batcher.aclose()

    async def _ask(self, owner: WorkOwner, lane: Lane, share: Share) -> bool:
        if not self._fair:
            owner, lane = EVERYBODY, Lane.LIVE
        started = self._clock.monotonic()
        try:
            await self._batcher.submit(self._machine.frame, owner, lane)
        except UnavailableError:
            share.refused += self._counting_from <= started
            return False
        ended = self._clock.monotonic()
        if self._counting_from <= ended < self._end:
            share.took_ms.append((ended - started) * 1e3)
        return True


async def _measure(machine: Machine, seconds: float, *, others: bool, fair: bool) -> Run:
    run = Run(seconds)
    callers = _Callers(machine, run, fair=fair)
    async with asyncio.TaskGroup() as group:
        group.create_task(callers.camera(LONE, LONE_FPS, run.lone))
        if others:
            for number in range(BUSY_CAMERAS):
                key = CameraKey("busy", f"cam-{number}")
                group.create_task(callers.camera(key, BUSY_FPS, run.busy))
            for _ in range(CALLERS):
                group.create_task(callers.caller(WorkOwner("busy"), run.flood))
    await callers.aclose()
    return run


async def _measure_all(machine: Machine, seconds: float) -> FairnessBench:
    return FairnessBench(
        alone=await _measure(machine, seconds, others=False, fair=True),
        one_queue=await _measure(machine, seconds, others=True, fair=False),
        fair=await _measure(machine, seconds, others=True, fair=True),
    )


def simulate(settings: DetectorSettings, seconds: float, parallel: int = PARALLEL) -> FairnessBench:
    """With a model that sees nothing; `seconds` of virtual time for each of the three runs.

    Args:
        parallel: calls at once; together they always make `FRAMES_PER_S`.
    """
    size = (settings.input_width, settings.input_height)
    blank = np.zeros((settings.input_height, settings.input_width, 3), np.uint8)
    machine = Machine(
        run=lambda frames: [None] * len(frames),
        frame=LetterboxedFrame(blank, Letterbox.fit(size, size)),
        max_batch=1,
        parallel=parallel,
        max_wait_s=settings.max_wait_ms / 1e3,
    )
    chance, call_s = Random(0), parallel / FRAMES_PER_S

    def duration_s() -> float:
        return call_s * chance.uniform(1 - SPREAD, 1 + SPREAD)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(duration_s)) as runner:
        return runner.run(_measure_all(machine, seconds))


def measure(settings: Settings, seconds: float) -> FairnessBench:
    """With the configured model in this process; `seconds` for each of the three runs."""
    model = load_model(settings.detector.weights, settings.detector, settings.model_cache)
    machine = Machine(
        run=model.detect,
        frame=street(settings),
        max_batch=model.max_batch,
        parallel=model.parallel,
        max_wait_s=settings.detector.max_wait_ms / 1e3,
    )
    try:
        return asyncio.run(_measure_all(machine, seconds))
    finally:
        model.close()


def add_rows(table: Table, result: FairnessBench) -> None:
    """Add the measurements to a table with the columns what, measured, aim."""
    alone = result.alone
    rate, p95_ms = alone.lone.rate(alone.seconds), alone.lone.p95_ms
    table.add_row("one camera alone", f"{rate:.2f} frames/s, p95 {p95_ms:.0f} ms", "")
    for name, run, is_fair in (
        (f"beside {BUSY_CAMERAS} and a flood, one queue for all", result.one_queue, False),
        (f"beside {BUSY_CAMERAS} and a flood, fair queue", result.fair, True),
    ):
        lone, busy, flood = (share.rate(run.seconds) for share in (run.lone, run.busy, run.flood))
        table.add_row(name, f"{lone:.2f} frames/s, p95 {run.lone.p95_ms:.0f} ms", "")
        table.add_row("  its rate, to alone", f"{lone / rate:.2f}", "≥ 0.9" * is_fair)
        table.add_row("  its p95, to alone", f"{run.lone.p95_ms / p95_ms:.2f}", "≤ 1.5" * is_fair)
        table.add_row(
            "  the others",
            f"cameras {busy:.1f} frames/s, p95 {run.busy.p95_ms:.0f} ms, {run.busy.refused} frames "
            f"dropped; flood {flood:.1f}/s; all together {lone + busy + flood:.1f}/s",
            "",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of three runs")
    parser.add_argument("--parallel", type=int, default=PARALLEL, help="calls at once")
    parser.add_argument("--real", action="store_true", help="with the configured model")
    options = parser.parse_args()
    settings = load_settings()
    table = Table(title="Sharing the detector", title_justify="left")
    for name in ("what", "measured", "aim"):
        table.add_column(name)
    if options.real:
        add_rows(table, measure(settings, options.seconds))
    else:
        add_rows(table, simulate(settings.detector, options.seconds, options.parallel))
    Console().print(table)


if __name__ == "__main__":
    main()
