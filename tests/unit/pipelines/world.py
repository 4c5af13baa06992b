"""A synthetic scene of moving boxes, as a perfect, or a poor, detector would report it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.domain import Alarm, Camera, CameraPlan, Detections, FrameStamp, Rule
from pipelines.pipeline import CameraPipeline, StepResult

START_US = 1_764_000_000_000_000
SIZE = (1280, 720)

Path = Callable[[float], tuple[float, float] | None]
"""Seconds to the foot point (normalized), or None while the object is not there."""


@dataclass(frozen=True)
class Thing:
    """One object. Width and height normalized; `seen` says whether the detector finds it at t."""

    path: Path
    width: float = 0.05
    height: float = 0.25
    label: str = "person"
    confidence: float = 0.85
    seen: Callable[[float], bool] = lambda t: True
    label_at: Callable[[float], str] | None = None
    confidence_at: Callable[[float], float] | None = None


def walk(
    start: tuple[float, float],
    end: tuple[float, float],
    begin_s: float,
    end_s: float,
    *,
    stays: bool = False,
) -> Path:
    """Straight, at even speed; there before and after only where it `stays`."""

    def path(t: float) -> tuple[float, float] | None:
        if not stays and not begin_s <= t <= end_s:
            return None
        share = min(1.0, max(0.0, (t - begin_s) / (end_s - begin_s)))
        return (
            start[0] + share * (end[0] - start[0]),
            start[1] + share * (end[1] - start[1]),
        )

    return path


def stand(at: tuple[float, float], begin_s: float = 0.0, end_s: float = 1e9) -> Path:
    return lambda t: at if begin_s <= t <= end_s else None


def chain(*paths: Path) -> Path:
    """The first of the paths that is there."""

    def path(t: float) -> tuple[float, float] | None:
        return next((p for each in paths if (p := each(t)) is not None), None)

    return path


def detections(
    things: Iterable[Thing], t: float, size: tuple[int, int], noise: float = 0.0, seed: int = 0
) -> Detections:
    """Detections at `t`; `noise` is the jitter of box edges as a fraction of the box."""
    chance = random.Random(f"{seed}/{t:.6f}")
    boxes: list[list[float]] = []
    confidences: list[float] = []
    labels: list[str] = []
    for thing in things:
        foot = thing.path(t)
        if foot is None or not thing.seen(t):
            continue
        tremble = [chance.uniform(-noise, noise) for _ in range(4)]
        x1 = foot[0] - thing.width * (0.5 + tremble[0])
        x2 = foot[0] + thing.width * (0.5 + tremble[1])
        y1 = foot[1] - thing.height * (1 + tremble[2])
        y2 = foot[1] + thing.height * tremble[3]
        boxes.append([x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]])
        confidences.append(thing.confidence_at(t) if thing.confidence_at else thing.confidence)
        labels.append(thing.label_at(t) if thing.label_at else thing.label)
    return Detections(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(confidences, dtype=np.float32),
        tuple(labels),
    )


def frames(
    things: Sequence[Thing],
    seconds: float,
    fps: float = 5.0,
    *,
    begin_s: float = 0.0,
    size: tuple[int, int] = SIZE,
    noise: float = 0.0,
    start_us: int = START_US,
) -> Iterator[tuple[FrameStamp, Detections]]:
    for number in range(round(seconds * fps)):
        t = begin_s + number / fps
        stamp = FrameStamp(start_us + round(t * 1e6), number, *size)
        yield stamp, detections(things, t, size, noise)


def plan(*rules: Rule, fps: float = 5.0, camera: str = "gate", revision: int = 0) -> CameraPlan:
    return CameraPlan(
        camera=Camera(
            tenant="acme", id=camera, name=camera, url="rtsp://camera.test/1", detect_fps=fps
        ),
        rules=rules,
        revision=revision,
    )


def run(
    pipeline: CameraPipeline, stream: Iterable[tuple[FrameStamp, Detections]]
) -> list[StepResult]:
    return [pipeline.step(stamp, found) for stamp, found in stream]


def alarms(results: Iterable[StepResult]) -> list[Alarm]:
    return [alarm for result in results for alarm in result.alarms]


def seconds_of(alarm: Alarm) -> float:
    return (alarm.capture_us - START_US) / 1e6


def keys(results: Iterable[StepResult]) -> set[str]:
    return {track.key for result in results for track in result.tracks}


def with_gaps(thing: Thing, *gaps: tuple[float, float]) -> Thing:
    """The same object, undetected in these time ranges."""
    return replace(thing, seen=lambda t: not any(a <= t < b for a, b in gaps))
