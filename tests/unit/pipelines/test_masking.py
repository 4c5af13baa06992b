"""Masks hide everything that they cover, and little more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import Polygon
from pipelines.imaging import I420
from pipelines.masking import BLACK, MaskPainter
from tests.unit.pipelines.properties import PROPERTY

WHITE = 235
COLOUR = 90
# Two chroma pixels of margin, one of the raster: six source pixels, and one for rounding.
AT_MOST = 7


def picture(width: int, height: int) -> I420:
    half = ((height + 1) // 2, (width + 1) // 2)
    return I420(
        np.full((height, width), WHITE, np.uint8),
        np.full(half, COLOUR, np.uint8),
        np.full(half, COLOUR, np.uint8),
    )


def inside(polygon: Polygon, x: float, y: float) -> bool:
    """Even-odd rule, written out: a ray to the right crosses the outline an odd number of times."""
    odd = False
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            odd = not odd
    return odd


@st.composite
def triangles(draw: st.DrawFn) -> Polygon:
    unit = st.floats(0, 1)
    corners = tuple((draw(unit), draw(unit)) for _ in range(3))
    return corners


@PROPERTY
@given(triangles(), st.integers(1, 70), st.integers(1, 70), st.floats(0, 1), st.floats(0, 1))
def test_no_point_inside_a_mask_shows(
    mask: Polygon, width: int, height: int, x: float, y: float
) -> None:
    if not inside(mask, x, y):
        return
    planes = picture(width, height)
    MaskPainter((mask,)).paint(planes)
    column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
    assert planes.y[row, column] == BLACK[0]
    assert planes.u[row // 2, column // 2] == BLACK[1]
    assert planes.v[row // 2, column // 2] == BLACK[2]


@PROPERTY
@given(
    st.integers(20, 90),
    st.integers(20, 90),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.floats(0.05, 1),
)
def test_little_more_than_the_mask_is_lost(
    width: int, height: int, left: float, top: float, side: float
) -> None:
    right, bottom = min(1.0, left + side), min(1.0, top + side)
    planes = picture(width, height)
    MaskPainter((((left, top), (right, top), (right, bottom), (left, bottom)),)).paint(planes)
    rows, columns = np.nonzero(planes.y != WHITE)
    assert left * width - AT_MOST <= columns.min()
    assert columns.max() <= right * width + AT_MOST
    assert top * height - AT_MOST <= rows.min()
    assert rows.max() <= bottom * height + AT_MOST


def test_luma_and_colour_end_at_the_same_places() -> None:
    planes = picture(101, 57)
    MaskPainter((((0.2, 0.1), (0.7, 0.3), (0.4, 0.9)),)).paint(planes)
    dark = planes.y == BLACK[0]
    colour = (planes.u == BLACK[1]).repeat(2, axis=0).repeat(2, axis=1)[:57, :101]
    np.testing.assert_array_equal(dark, colour)
    assert 0 < dark.sum() < dark.size


def test_a_new_size_gets_new_rasters_and_no_mask_changes_nothing() -> None:
    painter = MaskPainter((((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)),))
    for width, height in [(64, 36), (128, 72), (36, 64)]:
        planes = picture(width, height)
        painter.paint(planes)
        assert (planes.y[:, width // 2 :] == BLACK[0]).all()
        assert (planes.y[:, : width // 2 - AT_MOST] == WHITE).all()
    planes = picture(64, 36)
    MaskPainter(()).paint(planes)
    assert (planes.y == WHITE).all()


def test_planes_that_cannot_be_written_are_refused_and_not_passed_on() -> None:
    planes = picture(64, 36)
    for plane in (planes.y, planes.u, planes.v):
        plane.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        MaskPainter((((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),)).paint(planes)
