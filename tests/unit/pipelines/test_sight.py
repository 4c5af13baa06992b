"""Whether a camera still sees: composed scenes with known faults, each of which must be found and
end, and quiet scenes over hours in which nothing may be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipelines.domain import Fault, PictureFault
from pipelines.sight import SightCheck

S = 1_000_000
T0 = 1_700_000_000 * S
WIDTH, HEIGHT = 384, 216

Picture = npt.NDArray[Any]
Frames = Callable[[int], Picture]
"""A picture, float32 (HEIGHT, WIDTH), by the second."""


def backdrop(seed: int = 1) -> Picture:
    """A street by day: sky, ground, houses with windows, poles."""
    random = np.random.default_rng(seed)
    scene = np.linspace(170, 90, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, axis=1)
    for _ in range(40):
        x, y = random.integers(0, WIDTH - 20), random.integers(20, HEIGHT - 20)
        w, h = random.integers(4, 60), random.integers(4, 70)
        scene[y : y + h, x : x + w] = random.uniform(40, 210)
    return cv2.GaussianBlur(scene, (0, 0), 0.8)


DAY = backdrop()
NIGHT = 18 + (DAY - DAY.min()) * 0.22
"""The same with little light: luma of 18 to 56."""
DIM = 17 + (DAY - DAY.min()) * 0.09
"""With next to none: 17 to 32."""
_RANDOM = np.random.default_rng(7)
_NOISE = [_RANDOM.standard_normal((HEIGHT, WIDTH)).astype(np.float32) for _ in range(7)]


def noise(second: int) -> Picture:
    """Noise of one grey level, another in each second."""
    field = _NOISE[second % len(_NOISE)]
    return np.roll(field, (second * 31) % HEIGHT, axis=0)


def with_walker(picture: Picture, second: int) -> Picture:
    """A person who crosses the picture once in two minutes."""
    place = (second % 120) * 8
    if place >= WIDTH:
        return picture
    walked = picture.copy()
    walked[110:180, place : place + 22] = picture.mean() * 0.5
    return walked


def seen(picture: Picture) -> npt.NDArray[np.uint8]:
    return np.clip(picture, 16, 235).astype(np.uint8)


@dataclass
class Watch:
    """A check that looks once in some seconds, and what it said.

    Attributes:
        told: each fault when it was first told, with the second.
    """

    check: SightCheck = field(default_factory=SightCheck)
    second: int = 0
    told: list[tuple[int, Fault]] = field(default_factory=list)

    def look(self, seconds: int, frames: Frames, step: int = 1) -> Fault | None:
        before = self.check.fault
        for _ in range(0, seconds, step):
            fault = self.check.step(T0 + self.second * S, seen(frames(self.second)))
            if fault is not None and fault != before:
                self.told.append((self.second, fault))
            before = fault
            self.second += step
        return self.check.fault


def day(second: int) -> Picture:
    return with_walker(DAY, second) + 1.5 * noise(second)


def night(second: int) -> Picture:
    return NIGHT + 3 * noise(second)


BLACK = np.full((HEIGHT, WIDTH), 16, np.float32)
HAND = cv2.GaussianBlur(DAY, (0, 0), 60) * 0.1 + 60
BLURRED = cv2.GaussianBlur(DAY, (0, 0), 7)
ELSEWHERE = backdrop(99)
LAMP = DAY + 260 * np.exp(
    -((np.arange(WIDTH)[None, :] - 190) ** 2 + (np.arange(HEIGHT)[:, None] - 100) ** 2) / 30_000
).astype(np.float32)

FAULTS: dict[str, tuple[Frames, Frames, PictureFault, int]] = {
    "lens cap": (day, lambda s: BLACK + 0.3 * noise(s), PictureFault.BLACK, 15),
    "no signal": (day, lambda _: BLACK, PictureFault.BLACK, 15),
    "dark at night": (night, lambda s: BLACK + 1.0 * noise(s), PictureFault.BLACK, 15),
    "hand": (day, lambda s: HAND + 1.5 * noise(s), PictureFault.COVERED, 15),
    "paint": (night, lambda s: BLACK + 90 + noise(s), PictureFault.COVERED, 15),
    "the same frame": (day, lambda _: DAY, PictureFault.FROZEN, 60),
    "the same frame at night": (night, lambda _: night(5), PictureFault.FROZEN, 60),
    "out of focus": (day, lambda s: BLURRED + 1.5 * noise(s), PictureFault.BLURRED, 30),
    "turned away": (day, lambda s: ELSEWHERE + 1.5 * noise(s), PictureFault.MOVED, 60),
    "headlight": (day, lambda s: LAMP + noise(s), PictureFault.GLARE, 20),
}
"""By name: the scene as usual, then what happens to it, what that is, and how long it lasts before
it is a fault."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_ends(name: str) -> None:
    usual, broken, kind, after_s = FAULTS[name]
    watch = Watch()
    assert watch.look(150, usual) is None
    watch.look(after_s - 1, broken)
    assert watch.told == []
    watch.look(30, broken)
    assert [fault.kind for _, fault in watch.told] == [kind]
    ((_, fault),) = watch.told
    # It began within some seconds, in which the average still had the picture before.
    assert 150 <= (fault.since_us - T0) / S <= 165
    assert watch.look(120, broken) == fault
    assert watch.look(60, usual) is None


@pytest.mark.parametrize(
    ("broken", "kind", "within_s"),
    [
        (lambda _: BLACK, PictureFault.BLACK, 20),
        (lambda s: BLACK + 100 + noise(s), PictureFault.COVERED, 20),
        (lambda _: DAY, PictureFault.FROZEN, 305),
    ],
)
def test_a_camera_that_never_saw_anything(
    broken: Frames, kind: PictureFault, within_s: int
) -> None:
    fault = Watch().look(within_s, broken)
    assert fault is not None
    assert fault.kind is kind


def drifting(second: int) -> Picture:
    """Dusk: from day to night in an hour, noise growing."""
    share = min(1.0, second / 3_600)
    return with_walker(DAY * (1 - share) + NIGHT * share, second) + (1.5 + 2 * share) * noise(
        second
    )


def switched(second: int) -> Picture:
    """Lamps that are switched once in ten minutes."""
    bright = (second // 600) % 2 == 0
    return (DAY if bright else NIGHT) + 2 * noise(second)


def headlights(second: int) -> Picture:
    """A car that shines into the lens for ten seconds of each five minutes."""
    return (NIGHT + (LAMP - DAY) if second % 300 < 10 else NIGHT) + 2 * noise(second)


def shaking(second: int) -> Picture:
    """Wind moves the camera by up to two cells."""
    shift = (second * 7) % 5 - 2
    return np.roll(DAY, (shift, 2 * shift), axis=(0, 1)) + 1.5 * noise(second)


def rain(second: int) -> Picture:
    """Drops and haze at night, which take away up to four fifths of the contrast."""
    share = 0.5 + 0.3 * np.sin(second / 700)
    return NIGHT * share + 30 * (1 - share) + 5 * noise(second)


def animated(second: int) -> Picture:
    """A picture without noise, in which something moves for a minute of each three."""
    return with_walker(DAY, second % 180) if second % 180 < 60 else DAY


def plain_wall(second: int) -> Picture:
    """A wall with little light and shade, past which two pale things move."""
    wall = np.full((HEIGHT, WIDTH), 93, np.float32)
    left, top = (second * 40) % (WIDTH - 48), (second * 30) % (HEIGHT - 24)
    wall[72:144, left : left + 48] = 96
    wall[top : top + 24, 180:216] = 74
    return wall + noise(second)


QUIET: dict[str, Frames] = {
    "night with noise": night,
    "night with little noise": lambda s: NIGHT + 0.4 * noise(s),
    "next to no light": lambda s: DIM + 2 * noise(s),
    "day": day,
    "dusk": drifting,
    "lamps": switched,
    "headlights": headlights,
    "wind": shaking,
    "rain": rain,
    "animated": animated,
}


@pytest.mark.parametrize("name", QUIET)
def test_an_hour_of_a_quiet_scene_raises_nothing(name: str) -> None:
    watch = Watch()
    watch.look(3_600, QUIET[name], step=5)
    assert watch.told == []


def test_pale_things_before_a_plain_wall_are_no_cover() -> None:
    """One look a second: the average smears what moves, and leaves a contrast of 1."""
    watch = Watch()
    watch.look(150, plain_wall)
    assert watch.told == []


def test_who_was_moved_is_at_home_after_an_hour() -> None:
    watch = Watch()
    watch.look(150, day)
    watch.look(3_900, FAULTS["turned away"][1], step=3)
    assert [fault.kind for _, fault in watch.told] == [PictureFault.MOVED]
    assert watch.check.fault is None


def test_a_mask_over_almost_everything_is_no_black_picture() -> None:
    mask = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.97), (0.0, 0.97))
    watch = Watch(SightCheck((mask,)))
    assert watch.look(100, lambda _: BLACK) is None


def test_what_is_masked_does_not_hide_a_fault() -> None:
    """The left half is painted black, the right half is covered."""
    mask = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))

    def painted(frames: Frames) -> Frames:
        return lambda s: np.where(np.arange(WIDTH)[None, :] < WIDTH // 2, 16, frames(s))

    watch = Watch(SightCheck((mask,)))
    assert watch.look(150, painted(day)) is None
    fault = watch.look(40, painted(FAULTS["hand"][1]))
    assert fault is not None
    assert fault.kind is PictureFault.COVERED


def test_another_size_or_a_long_pause_is_a_new_start() -> None:
    watch = Watch()
    assert watch.look(40, lambda _: BLACK) is not None
    watch.second += 60
    assert watch.look(1, day) is None
    assert watch.look(40, lambda _: BLACK) is not None
    assert watch.look(1, lambda s: day(s)[::2, ::2]) is None
