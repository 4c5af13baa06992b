"""Hidden regions: nothing of them is left, and around them nothing is changed."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.anonymisation import HideStyle, Region
from pipelines.imaging import I420
from pipelines.pixelation import GREY, hide_i420, hide_rgb

REGION = Region(16, 8, 64, 56, 16)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def frame(width: int, height: int) -> I420:
    half = ((height + 1) // 2, (width + 1) // 2)
    return I420(noise(height, width), noise(*half), noise(*half))


def test_each_cell_of_a_mosaic_has_one_colour_its_mean() -> None:
    rgb = noise(80, 100, 3)
    before = rgb.copy()
    hide_rgb(rgb, [REGION], HideStyle.MOSAIC)
    for y in range(8, 56, 16):
        for x in range(16, 64, 16):
            cell = rgb[y : y + 16, x : x + 16].reshape(-1, 3)
            assert (cell == cell[0]).all()
            mean = before[y : y + 16, x : x + 16].reshape(-1, 3).mean(axis=0)
            assert np.abs(cell[0] - mean).max() <= 1


@pytest.mark.parametrize("style", HideStyle)
def test_around_a_region_nothing_is_changed(style: HideStyle) -> None:
    rgb = noise(80, 100, 3)
    before = rgb.copy()
    hide_rgb(rgb, [REGION], style)
    outside = np.ones((80, 100), bool)
    outside[8:56, 16:64] = False
    assert (rgb[outside] == before[outside]).all()
    assert (rgb[~outside] != before[~outside]).any(axis=1).mean() > 0.95


def test_grey_says_nothing_of_what_it_hides() -> None:
    planes = frame(100, 80)
    hide_i420(planes, [REGION], HideStyle.FILL)
    assert (planes.y[8:56, 16:64] == GREY).all()
    assert (planes.u[4:28, 8:32] == GREY).all()
    assert (planes.v[4:28, 8:32] == GREY).all()


def test_all_three_planes_are_hidden() -> None:
    planes = frame(100, 80)
    hide_i420(planes, [REGION], HideStyle.MOSAIC)
    for plane, cell in ((planes.y[8:56, 16:64], 16), (planes.u[4:28, 8:32], 8)):
        assert len(np.unique(plane)) <= 9
        assert (plane[:cell, :cell] == plane[0, 0]).all()


@pytest.mark.parametrize("size", [(101, 81), (64, 48), (17, 9)])
def test_at_odd_sizes_the_edge_is_hidden_too(size: tuple[int, int]) -> None:
    planes = frame(*size)
    hide_i420(planes, [Region(0, 0, *size, 200)], HideStyle.MOSAIC)
    assert [len(np.unique(plane)) for plane in (planes.y, planes.u, planes.v)] == [1, 1, 1]


def test_a_frame_that_cannot_be_painted_is_an_error() -> None:
    planes = frame(100, 80)
    planes.y.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        hide_i420(planes, [REGION], HideStyle.MOSAIC)
