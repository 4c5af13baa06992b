"""What attention saves, and what it misses: composed scenes, filmed and detected, in virtual time.

    python -m benchmarks.attention [--seeds 10]

The scenes of `benchmarks.tracking` as pictures (dark objects before a textured wall, with noise)
and as what a detector reports of them. Cameras share a detector whose speed is what their
transport and decoding leave of two cores. All numbers but the processor time are the same in every
run and on every machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from time import process_time

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from agents.gate import Due, FrameGate
from benchmarks.tracking.metrics import Reported, crossings
from benchmarks.tracking.motion import along
from benchmarks.tracking.scenes import HEIGHT, SCENES, START_US, WIDTH, Body, Frame, Scene, look
from cluster.inference.fair_queue import FairQueue, Ticket
from pipelines.attention import Attention
from pipelines.domain import Camera, CameraPlan, LineCrossRule, WorkOwner
from pipelines.movement import LONGER_SIDE, Luma, small_luma
from pipelines.pipeline import CameraPipeline

CAMERA_FPS = 25.0
SPEEDS_S = (6.0, 4.0, 3.0, 2.0, 1.5)
CORES = 200.0
TRANSPORT, DETECTION = 8.0, 3.2
"""Percent of a core: of a camera before any detection, and of one detection a second. Measured by
`make bench` on two cores."""
LATENCY_S = 0.1
"""Of a detection that need not wait, from capture to result."""
QUIET_PER_BUSY = 4
NOISE = 2.0
LINE = LineCrossRule(id="line", name="line", line=((0.5, 0.0), (0.5, 1.0)), cooldown_s=0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of cameras that share a detector.

    Attributes:
        raised, expected: alarms.
        fps: analysed frames per second and camera.
        p95_ms: capture to result.
    """

    raised: int
    expected: int
    fps: float
    p95_ms: float


@cache
def filmed(scene_of: Callable[[int], Scene], seed: int) -> tuple[Frame, ...]:
    return tuple(look(scene_of(seed), CAMERA_FPS))


def empty(seed: int) -> Scene:
    return Scene("empty", 60.0, (), seed=seed)


def crossing(seconds: float, seed: int) -> Scene:
    """Somebody of 60x180 px crosses the picture after 15 s."""
    speed = (WIDTH + 60) / seconds
    path = along([(-30.0, 560.0), (WIDTH + 30.0, 560.0)], speed, 15.0 + seed % 7 / 7)
    return Scene(f"crossing {seconds:g}", 20.0 + seconds, [Body(path, 60, 180)], seed=seed)


@cache
def _wall() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    coarse = np.random.default_rng(7).uniform(60, 180, (12, 20)).astype(np.float32)
    size = (LONGER_SIDE, LONGER_SIDE * HEIGHT // WIDTH)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)


def picture(frame: Frame) -> Luma:
    """The frame as luma at low resolution, uint8 (90, 160)."""
    scale = LONGER_SIDE / WIDTH
    wall = _wall().copy()
    for x1, y1, x2, y2 in frame.truth.values():
        x1, y1, x2, y2 = (round(edge * scale) for edge in (x1, y1, x2, y2))
        wall[y1:y2, x1:x2] = 30
    noise = np.random.default_rng(frame.stamp.frame_id).normal(0, NOISE, wall.shape)
    return np.clip(wall + noise, 0, 255).astype(np.uint8)


@dataclass(slots=True)
class _Camera:
    """One camera with its analysis."""

    owner: WorkOwner
    frames: tuple[Frame, ...]
    gate: FrameGate
    pipeline: CameraPipeline
    raised: int = 0
    analysed: int = 0

    @classmethod
    def of(cls, name: str, frames: tuple[Frame, ...], attention: bool) -> _Camera:
        camera = Camera.model_validate(
            {"tenant": "acme", "id": name, "name": name, "url": "rtsp://x/", "attention": attention}
        )
        plan = CameraPlan(camera=camera, rules=(LINE,))
        return cls(WorkOwner(*plan.key), frames, FrameGate(plan), CameraPipeline(plan))

    def offer(self, number: int) -> Due | None:
        frame = self.frames[number]
        return self.gate.offer(frame.stamp.capture_us, partial(picture, frame))

    def take(self, frame: Frame, due: Due) -> None:
        self.gate.learn(frame.stamp, frame.detections)
        result = self.pipeline.step(frame.stamp, frame.detections, due.quiet_us)
        self.raised += len(result.alarms)
        self.analysed += 1
        self.gate.done()

    @property
    def expected(self) -> int:
        truth = [
            (frame.stamp.capture_us, [Reported(n, box) for n, box in frame.truth.items()])
            for frame in self.frames
        ]
        return len(crossings(truth, (WIDTH, HEIGHT)))


@dataclass(slots=True)
class _Detector:
    """A detector of this many frames per second, which finds what the frame says."""

    per_s: float
    queue: FairQueue[tuple[_Camera, Frame, Due]] = field(default_factory=lambda: FairQueue(1000))
    free_s: float = 0.0
    flying: list[tuple[float, _Camera, Frame, Due]] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    def run(self, now_s: float) -> None:
        """Deliver what is finished by now, and begin what can begin."""
        while len(self.queue) and self.free_s <= now_s:
            ticket = self.queue.pop()
            begin_s = max(self.free_s, ticket.arrived_s)
            self.free_s = begin_s + 1 / self.per_s
            ready_s = max(self.free_s, ticket.arrived_s + LATENCY_S)
            self.waits_s.append(ready_s - ticket.arrived_s)
            self.flying.append((ready_s, *ticket.item))
        done = [one for one in self.flying if one[0] <= now_s]
        self.flying = [one for one in self.flying if one[0] > now_s]
        for _, camera, frame, due in sorted(done, key=lambda one: one[0]):
            camera.take(frame, due)


def simulate(films: Sequence[tuple[Frame, ...]], attention: bool, per_s: float) -> Outcome:
    """Analyse cameras with one detector of `per_s` frames per second."""
    cameras = [_Camera.of(f"c-{n}", film, attention) for n, film in enumerate(films)]
    detector = _Detector(per_s)
    length = min(len(film) for film in films)
    for number in range(length):
        now_s = number / CAMERA_FPS
        detector.run(now_s)
        for camera in cameras:
            due = camera.offer(number)
            if due is not None:
                item = (camera, camera.frames[number], due)
                detector.queue.push(Ticket(camera.owner, item, now_s, due.urgency))
    analysed = sum(camera.analysed for camera in cameras)
    return Outcome(
        # A camera that counts somebody twice does not make up for another that misses one.
        raised=sum(min(camera.raised, camera.expected) for camera in cameras),
        expected=sum(camera.expected for camera in cameras),
        fps=analysed / len(cameras) / (length / CAMERA_FPS),
        p95_ms=float(np.percentile(detector.waits_s, 95)) * 1e3 if detector.waits_s else 0.0,
    )


def films(cameras: int) -> list[tuple[Frame, ...]]:
    """Four quiet cameras to a busy one."""
    fast = next(make for make in SCENES if make.__name__ == "fast")
    return [
        filmed(fast, 100 + n) if n % (QUIET_PER_BUSY + 1) == 0 else filmed(empty, n % 3)
        for n in range(cameras)
    ]


def capacity(cameras: int) -> float:
    """Detections per second for which two cores have time beside so many cameras."""
    return max(0.1, (CORES - TRANSPORT * cameras) / DETECTION)


def quiet_cost_ms() -> tuple[float, float]:
    """Processor time of a look at a still picture of 640x360, in ms: to make it small, and to
    compare it."""
    frames = filmed(empty, 0)[:300]
    large = np.zeros((360, 640), np.uint8)
    pictures, attention = [picture(frame) for frame in frames], Attention()
    began = process_time()
    for _ in frames:
        small_luma(large)
    middle = process_time()
    for n, luma in enumerate(pictures):
        attention.observe(START_US + n * 100_000, luma)
    ended = process_time()
    return (middle - began) / 300 * 1e3, (ended - middle) / 300 * 1e3


def rows(seeds: int) -> Iterator[tuple[str, str, str]]:
    """What was measured, with attention and, beside it, at an even rate."""
    small, compared = quiet_cost_ms()
    quiet = {on: simulate([filmed(empty, 0)], on, 60.0).fps for on in (True, False)}
    looks = 10 * (small + compared) / 10
    yield "quiet camera: analysed frames/s", f"{quiet[True]:.2f}", f"{quiet[False]:.2f}"
    yield (
        "quiet camera: looks and detections, % of a core",
        f"{looks:.1f} + {DETECTION * quiet[True]:.1f}",
        f"{DETECTION * quiet[False]:.1f}",
    )
    for seconds in SPEEDS_S:
        seen = [filmed(partial(crossing, seconds), n) for n in range(seeds)]
        with_attention, evenly = (simulate(seen, on, 1e3) for on in (True, False))
        yield (
            f"crossing in {seconds:g} s: alarms",
            f"{with_attention.raised}/{with_attention.expected}",
            f"{evenly.raised}/{evenly.expected}",
        )
    for make in SCENES:
        seen = [filmed(make, 100 + n) for n in (0, 1)]
        found = [simulate(seen, on, 1e3) for on in (True, False)]
        shown = [f"{o.raised}/{o.expected}, {o.fps:.1f} frames/s" for o in found]
        yield (f"scene {make.__name__}: alarms", shown[0], shown[1])
    for cameras in (5, 7, 8, 10, 12, 14, 15, 16):
        found = [simulate(films(cameras), on, capacity(cameras)) for on in (True, False)]
        shown = [f"{o.raised}/{o.expected}, p95 {o.p95_ms:.0f} ms, {o.fps:.1f}" for o in found]
        yield (f"{cameras} cameras on two cores: alarms", shown[0], shown[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="crossings of each speed")
    options = parser.parse_args()
    console = Console(width=110)
    table = Table(title="Attention", title_justify="left")
    for name in ("what", "attention", "even"):
        table.add_column(name)
    for row in rows(options.seeds):
        table.add_row(*row)
    console.print(table)


def add_rows(table: Table, measured: Sequence[tuple[str, str, str]]) -> None:
    """Add what `rows` measured to a table of what, measured, aim."""
    for what, attention, even in measured:
        table.add_row(what, f"{attention} (evenly: {even})", "")


if __name__ == "__main__":
    main()
