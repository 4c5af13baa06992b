"""Composed scenes: objects whose paths are known, and what a detector would report of them.

Everything follows from the scene's seed. Sizes and speeds are those of people and vehicles: a
person of 1.75 m walks 0.8 of their height per second and sprints 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import sin
from random import Random

import numpy as np

from benchmarks.tracking.motion import Path, Place, along, roam
from pipelines.domain import Detections, FrameStamp, PixelBox
from pipelines.geometry import area, intersection

WIDTH, HEIGHT = 1280, 720
START_US = 1_764_000_000_000_000
VISIBLE = 0.25
"""Share of an object that must be seen for it to count: nobody could report the hidden ones."""
CUT = 0.4
"""How often a detector shows of a hidden object the visible part, instead of guessing the rest."""
STRIDE = 0.2
"""By how much a person's box is wider and narrower, with each step."""


@dataclass(frozen=True, slots=True)
class Body:
    """One object: where it goes, and its size in pixels."""

    path: Path
    width: float
    height: float
    label: str = "person"

    def box(self, t: float) -> PixelBox | None:
        """Its box, clipped to the picture; None where less than `VISIBLE` of it is inside."""
        # Nobody moves evenly: a fifth faster and slower, every seven seconds.
        foot = self.path(t + 0.2 / 0.9 * sin(0.9 * t + self.height))
        if foot is None:
            return None
        width = self.width * (1 + STRIDE * sin(11.0 * t)) if self.label == "person" else self.width
        left, top = foot[0] - width / 2, foot[1] - self.height
        whole = (left, top, left + width, foot[1])
        inside = (max(0.0, left), max(0.0, top), min(WIDTH, whole[2]), min(HEIGHT, whole[3]))
        return inside if area(inside) >= VISIBLE * area(whole) else None


@dataclass(frozen=True, slots=True)
class Eye:
    """A detector's weaknesses.

    Attributes:
        missed: share of fully visible objects that it misses; more, the less it sees of them.
        tremble: standard deviation of a box edge, as a share of the box's side.
        confidence: its mean, and its standard deviation.
        ghosts: boxes of nothing, per frame.
    """

    missed: float = 0.07
    tremble: float = 0.025
    confidence: tuple[float, float] = (0.7, 0.12)
    ghosts: float = 0.03


@dataclass(frozen=True, slots=True)
class Scene:
    """What happens before one camera, and how well it is seen."""

    name: str
    seconds: float
    bodies: Sequence[Body]
    eye: Eye = field(default_factory=Eye)
    walls: Sequence[PixelBox] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One analysed frame: what is there, by the number of the object, and what was detected."""

    stamp: FrameStamp
    truth: dict[int, PixelBox]
    detections: Detections


def look(scene: Scene, fps: float) -> Iterator[Frame]:
    """The frames of a scene at this rate."""
    chance = Random(f"{scene.name}/{scene.seed}/{fps:g}")
    for number in range(round(scene.seconds * fps)):
        t = number / fps
        boxes = {n: box for n, body in enumerate(scene.bodies) if (box := body.box(t)) is not None}
        visible = {n: _visible(n, boxes, scene.walls) for n in boxes}
        truth = {n: box for n, box in boxes.items() if visible[n] >= VISIBLE}
        stamp = FrameStamp(START_US + round(t * 1e6), number, WIDTH, HEIGHT)
        yield Frame(stamp, truth, _detect(scene, truth, visible, chance))


def _visible(number: int, boxes: dict[int, PixelBox], walls: Sequence[PixelBox]) -> float:
    """Share of an object that is hidden neither by a wall nor by who stands further in front."""
    box = boxes[number]
    before = [
        other for n, other in boxes.items() if n != number and (other[3], n) > (box[3], number)
    ]
    hidden = max((intersection(box, cover) for cover in [*before, *walls]), default=0.0)
    return 1.0 - hidden / area(box)


def _detect(
    scene: Scene, truth: dict[int, PixelBox], visible: dict[int, float], chance: Random
) -> Detections:
    eye = scene.eye
    rows: list[tuple[PixelBox, float, str]] = []
    for number, box in truth.items():
        # Half hidden, an object is missed three times as often, and less certain.
        missed = min(0.9, eye.missed * (1 + 4 * (1 - visible[number])))
        confidence = chance.gauss(*eye.confidence) - 0.25 * (1 - visible[number])
        seen = _trembling(box, eye.tremble, chance)
        if chance.random() < CUT:
            # Somebody in front hides the legs.
            seen = (*seen[:3], seen[3] - 0.5 * (1 - visible[number]) * (seen[3] - seen[1]))
        if chance.random() >= missed and confidence > 0.1:
            rows.append((seen, min(confidence, 0.97), scene.bodies[number].label))
    rows += [_ghost(chance) for _ in range(_poisson(eye.ghosts, chance))]
    return Detections(
        np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.float32),
        tuple(row[2] for row in rows),
    )


def _trembling(box: PixelBox, tremble: float, chance: Random) -> PixelBox:
    sides = (box[2] - box[0], box[3] - box[1]) * 2
    moved = [
        edge + chance.gauss(0.0, tremble * side) for edge, side in zip(box, sides, strict=True)
    ]
    return (moved[0], moved[1], moved[2], moved[3])


def _ghost(chance: Random) -> tuple[PixelBox, float, str]:
    width, height = chance.uniform(20, 90), chance.uniform(50, 200)
    left, top = chance.uniform(0, WIDTH - width), chance.uniform(0, HEIGHT - height)
    return ((left, top, left + width, top + height), chance.uniform(0.15, 0.6), "person")


def _poisson(mean: float, chance: Random) -> int:
    """How many of 20 chances come true: close to Poisson for a mean of up to 2."""
    return sum(chance.random() < mean / 20 for _ in range(20))


def _across(y: float, speed: float, begin_s: float, chance: Random) -> Path:
    """Through the whole picture, in either direction."""
    ends: list[Place] = [(-60.0, y), (WIDTH + 60.0, y + chance.uniform(-40, 40))]
    if chance.random() < 0.5:
        ends.reverse()
    return along(ends, speed, begin_s)


def _person(path: Path, height: float) -> Body:
    return Body(path, width=height / 3, height=height)


def slow(seed: int) -> Scene:
    """Walkers, one after the other, well apart."""
    chance = Random(f"slow/{seed}")
    bodies = []
    for number in range(6):
        height = chance.uniform(120, 220)
        speed = chance.uniform(0.5, 1.0) * height
        path = _across(350 + 110 * (number % 3), speed, 8.0 * number, chance)
        bodies.append(_person(path, height))
    return Scene("slow", 60.0, bodies, seed=seed)


def fast(seed: int) -> Scene:
    """Runners, cyclists and cars: 1.5 to 4 s through the picture."""
    chance = Random(f"fast/{seed}")
    bodies = []
    for number in range(16):
        path = _across(
            300 + 120 * (number % 4), (WIDTH + 120) / chance.uniform(1.5, 4.0), 3.5 * number, chance
        )
        kind = chance.choice(("person", "person", "bicycle", "car"))
        if kind == "car":
            bodies.append(Body(path, 190, 90, "car"))
        elif kind == "bicycle":
            bodies.append(Body(path, 110, 120, "bicycle"))
        else:
            bodies.append(_person(path, chance.uniform(150, 210)))
    return Scene("fast", 60.0, bodies, seed=seed)


def crowd(seed: int) -> Scene:
    """Sixteen people on a square, who hide each other."""
    chance = Random(f"crowd/{seed}")
    bodies = []
    for _ in range(16):
        height = chance.uniform(110, 170)
        path = roam(chance, ((60, 250), (WIDTH - 60, 700)), chance.uniform(0.4, 0.9) * height, 14)
        bodies.append(_person(path, height))
    return Scene("crowd", 40.0, bodies, seed=seed)


def crossings(seed: int) -> Scene:
    """Pairs that meet in the middle, on nearly the same line: the one in front hides the other."""
    chance = Random(f"crossings/{seed}")
    bodies = []
    for number in range(8):
        height, y = chance.uniform(140, 200), 330 + 90 * (number % 4)
        for side in (0, 1):
            ends: list[Place] = [(-60.0, y + 12 * side), (WIDTH + 60.0, y + 12 * side)]
            speed = chance.uniform(0.7, 1.3) * height
            path = along(ends[::-1] if side else ends, speed, 5.0 * number)
            bodies.append(_person(path, height * chance.uniform(0.95, 1.05)))
    return Scene("crossings", 55.0, bodies, seed=seed)


def occlusions(seed: int) -> Scene:
    """Walkers who pass behind two pillars, out of sight for one to three seconds."""
    chance = Random(f"occlusions/{seed}")
    walls = ((360.0, 0.0, 520.0, 720.0), (820.0, 0.0, 940.0, 720.0))
    bodies = []
    for number in range(8):
        height = chance.uniform(120, 200)
        speed = chance.uniform(0.6, 1.2) * height
        path = _across(330 + 100 * (number % 4), speed, 6.0 * number, chance)
        bodies.append(_person(path, height))
    return Scene("occlusions", 60.0, bodies, walls=walls, seed=seed)


def night(seed: int) -> Scene:
    """Few people, badly seen; noise that looks like more."""
    chance = Random(f"night/{seed}")
    bodies = []
    for number in range(7):
        height = chance.uniform(120, 200)
        speed = chance.uniform(0.5, 2.2) * height
        path = _across(350 + 110 * (number % 3), speed, 7.0 * number, chance)
        bodies.append(_person(path, height))
    eye = Eye(missed=0.22, tremble=0.045, confidence=(0.48, 0.13), ghosts=0.8)
    return Scene("night", 60.0, bodies, eye=eye, seed=seed)


def chase(seed: int) -> Scene:
    """Runners through a square with eight people on it."""
    chance = Random(f"chase/{seed}")
    bodies = []
    for _ in range(8):
        height = chance.uniform(130, 180)
        path = roam(chance, ((60, 250), (WIDTH - 60, 700)), chance.uniform(0.2, 0.8) * height, 14)
        bodies.append(_person(path, height))
    for number in range(10):
        height = chance.uniform(140, 180)
        path = _across(
            chance.uniform(300, 690), chance.uniform(2.0, 4.0) * height, 4.0 * number + 1.0, chance
        )
        bodies.append(_person(path, height))
    return Scene("chase", 42.0, bodies, seed=seed)


SCENES: tuple[Callable[[int], Scene], ...] = (
    slow, fast, crowd, crossings, occlusions, night, chase,
)  # fmt: skip
