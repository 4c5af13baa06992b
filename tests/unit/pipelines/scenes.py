"""Pictures of a camera as luma at low resolution, and what a detector would find in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.attention import AttentiveSampler, Urgency
from pipelines.domain import Detections
from tests.unit.pipelines.world import SIZE, START_US, Thing, detections

CAMERA_FPS = 25.0
SMALL = (160, 90)
Picture = npt.NDArray[np.float32]
Effect = Callable[[float, Picture, np.random.Generator], Picture]
"""Seconds and a picture, float32 (90, 160), to another."""


def backdrop(seed: int = 7) -> Picture:
    """Smooth texture between 60 and 180."""
    chance = np.random.default_rng(seed)
    coarse = chance.uniform(60, 180, (12, 20)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, SMALL, interpolation=cv2.INTER_CUBIC), np.float32)


def noise(sigma: float) -> Effect:
    def effect(_: float, picture: Picture, chance: np.random.Generator) -> Picture:
        return picture + chance.normal(0.0, sigma, picture.shape).astype(np.float32)

    return effect


def rain(drops: int) -> Effect:
    """Bright streaks of 1x5 pixels, anew in each picture."""

    def effect(_: float, picture: Picture, chance: np.random.Generator) -> Picture:
        wet = picture.copy()
        for x, y in zip(chance.integers(0, 160, drops), chance.integers(0, 85, drops), strict=True):
            wet[y : y + 5, x] += 60
        return wet

    return effect


def exposure(at_s: float, gain: float) -> Effect:
    return lambda t, picture, _: picture * gain if t >= at_s else picture


def infrared(at_s: float) -> Effect:
    """Day before, night after: another picture of the same place."""
    night = backdrop(seed=8) * 0.5
    return lambda t, picture, _: night.copy() if t >= at_s else picture


def trees(columns: slice, period_s: float, pixels: float) -> Effect:
    """What is in these columns of the picture sways."""

    def effect(t: float, picture: Picture, _: np.random.Generator) -> Picture:
        shift = pixels * np.sin(2 * np.pi * t / period_s)
        moved = cv2.warpAffine(
            picture, np.array([[1, 0, shift], [0, 1, 0]], np.float32), SMALL,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        swaying = picture.copy()
        swaying[:60, columns] = moved[:60, columns]
        return swaying

    return effect


@dataclass
class Filmed:
    """A scene: things before a backdrop, and what the light and the weather do to it.

    `brightness` of things in the picture; those that the detector does not know are `unknown`.
    """

    things: Sequence[Thing] = ()
    unknown: Sequence[Thing] = ()
    effects: Sequence[Effect] = (noise(2.0),)
    brightness: float = 30.0
    seed: int = 1
    still: Picture = field(default_factory=backdrop)

    def luma(self, t: float) -> npt.NDArray[np.uint8]:
        picture = self.still.copy()
        for thing in (*self.things, *self.unknown):
            foot = thing.path(t)
            if foot is None:
                continue
            x1, x2 = (round((foot[0] + s * thing.width / 2) * SMALL[0]) for s in (-1, 1))
            y1, y2 = (round((foot[1] - h) * SMALL[1]) for h in (thing.height, 0.0))
            picture[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = self.brightness
        chance = np.random.default_rng([self.seed, round(t * 1e6)])
        for effect in self.effects:
            picture = effect(t, picture, chance)
        return np.clip(np.round(picture), 0, 255).astype(np.uint8)

    def found(self, t: float) -> Detections:
        return detections(self.things, t, SIZE, noise=0.02)


def look(
    sampler: AttentiveSampler, scene: Filmed, seconds: float, begin_s: float = 0.0
) -> Iterator[tuple[float, Urgency, Detections]]:
    """The frames that are analysed, by the second, with a detector that answers at once."""
    for number in range(round(begin_s * CAMERA_FPS), round(seconds * CAMERA_FPS)):
        t = number / CAMERA_FPS
        at_us = START_US + round(t * 1e6)
        if sampler.offer(at_us, partial(scene.luma, t)):
            found = scene.found(t)
            sampler.learn(at_us, found, SIZE)
            sampler.done()
            yield t, sampler.urgency, found
