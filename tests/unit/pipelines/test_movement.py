"""What moves in a picture, and what only looks as if it did."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.movement import CELL, COLD, MEMORY_S, Grid, Movement, grid_shape, small_luma
from tests.unit.pipelines.scenes import (
    Effect,
    Filmed,
    exposure,
    infrared,
    noise,
    rain,
    trees,
)
from tests.unit.pipelines.world import START_US, Thing, walk

PER_S = 10


def grids(scene: Filmed, seconds: float, begin_s: float = 0.0) -> list[tuple[float, Grid]]:
    movement = Movement()
    times = [begin_s + n / PER_S for n in range(round((seconds - begin_s) * PER_S))]
    return [(t, movement.observe(START_US + round(t * 1e6), scene.luma(t))) for t in times]


def share_moving(scene: Filmed, begin_s: float = 15.0, seconds: float = 25.0) -> float:
    known = [grid.any() for t, grid in grids(scene, seconds) if t >= begin_s]
    return sum(known) / len(known)


@pytest.mark.parametrize(
    "effect",
    [
        noise(2.0),
        noise(8.0),
        trees(slice(0, 60), period_s=0.7, pixels=4.0),
        trees(slice(0, 60), period_s=3.1, pixels=4.0),
        trees(slice(0, 60), period_s=7.0, pixels=4.0),
    ],
    ids=["noise", "night", "leaves", "branches", "a slow wind"],
)
def test_nothing_moves(effect: Effect) -> None:
    assert share_moving(Filmed(effects=(effect, noise(2.0)))) <= 0.02


def test_rain_moves_sometimes_and_a_person_in_it_always() -> None:
    """Streaks are 4 px wide in 640x360: heavy rain before the lens."""
    assert share_moving(Filmed(effects=(rain(60), noise(2.0)))) < 0.5
    person = Thing(walk((0.2, 0.8), (0.8, 0.8), 15.0, 25.0), width=0.06, height=0.25)
    assert share_moving(Filmed([person], effects=(rain(60), noise(2.0)))) > 0.9


@pytest.mark.parametrize(
    "effect",
    [exposure(20.0, 1.4), exposure(20.0, 0.7), infrared(20.0)],
    ids=["brighter", "darker", "infrared"],
)
def test_another_light_is_a_new_background(effect: Effect) -> None:
    assert share_moving(Filmed(effects=(effect, noise(2.0)))) == 0.0


@pytest.mark.parametrize("seconds", [60.0, 6.0, 3.0, 1.5, 1.0])
def test_who_crosses_moves_all_the_time_and_where_they_are(seconds: float) -> None:
    begin_s = 10.0
    path = walk((0.0, 0.8), (1.0, 0.8), begin_s, begin_s + seconds)
    person = Thing(path, width=60 / 1280, height=180 / 720)
    moving = {}
    for t, grid in grids(Filmed([person]), begin_s + min(seconds, 8.0)):
        if t >= begin_s + 0.2:
            moving[t] = grid
    assert all(grid.any() for grid in moving.values())
    for t, grid in moving.items():
        foot = path(t)
        assert foot is not None
        columns = np.flatnonzero(grid.any(axis=0))
        centre = foot[0] * 160 / CELL
        # A slow one leaves ground behind that counts until the background has it.
        assert min(abs(columns - centre)) <= 1.5


def test_who_has_stopped_is_background_within_seconds() -> None:
    car = Thing(walk((0.0, 0.8), (0.5, 0.8), 8.0, 10.0, stays=True), width=0.2, height=0.15)
    after = [grid.any() for t, grid in grids(Filmed([car]), 20.0) if t > 10.0 + 2 * COLD]
    assert not any(after)


def test_what_is_older_than_the_memory_does_not_matter() -> None:
    """Who joined late sees the same from then on."""
    person = Thing(walk((0.0, 0.8), (1.0, 0.8), 16.0, 24.0), width=0.05, height=0.25)
    scene = Filmed([person], effects=(noise(3.0),))
    early = dict(grids(scene, 26.0))
    late = dict(grids(scene, 26.0, begin_s=2.0))
    same = [np.array_equal(early[t], late[t]) for t in late if t > 2.0 + MEMORY_S + 1]
    assert len(same) > 100
    assert all(same)


def test_a_clock_that_is_set_back_and_another_size_begin_anew() -> None:
    movement = Movement()
    luma = Filmed().luma(0.0)
    for n in range(5):
        movement.observe(START_US + n * 1_000_000, luma)
    assert movement.known
    movement.observe(START_US, luma)
    assert not movement.known
    for n in range(5):
        movement.observe(START_US + (10 + n) * 1_000_000, luma)
    assert movement.known
    turned = np.ascontiguousarray(luma.T)
    assert movement.observe(START_US + 20_000_000, turned).shape == grid_shape(turned.shape)
    assert not movement.known


@pytest.mark.parametrize(
    ("size", "small"), [((1920, 1080), (160, 90)), ((480, 640), (120, 160)), ((4000, 20), (160, 8))]
)
def test_every_picture_becomes_small(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert small_luma(np.zeros((size[1], size[0]), np.uint8)).shape == (small[1], small[0])
