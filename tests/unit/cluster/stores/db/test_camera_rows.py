"""Rows of cameras into which somebody wrote past the application."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.stores.db.convert import camera_of, masks_since, write_camera
from cluster.stores.db.models import CameraRow
from cluster.stores.db.types import CameraChanges
from pipelines.domain import Recording, RecordingMode
from tests.factories import CIPHER, T0_US, make_camera

HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0))
CAMERA = make_camera(masks=(HALF,), recording=Recording(mode=RecordingMode.CONTINUOUS))


def row() -> CameraRow:
    made = CameraRow(tenant="acme", id="gate")
    write_camera(made, CAMERA, 1, CIPHER, T0_US)
    return made


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("recording", {"mode": "sometimes"}),
        ("recording", []),
        ("masks", [[[0, 0], [2, 0], [1, 1]]]),
        ("masks", {"a": 1}),
        ("masks", None),
    ],
)
def test_a_camera_with_a_body_that_is_not_valid_is_there_but_not_pulled(
    column: str, value: Any
) -> None:
    broken = row()
    setattr(broken, column, value)
    camera = camera_of(broken, CIPHER)
    assert [found.field for found in camera.unreadable] == [column]
    assert f"the camera's {column} cannot be read" in camera.unreadable_reason
    # Another change keeps what is stored: masks do not vanish.
    renamed = CameraChanges(name="Front").applied_to(camera)
    write_camera(broken, renamed, 2, CIPHER, T0_US)
    assert (broken.name, getattr(broken, column)) == ("Front", value)
    # Set anew, it is whole again.
    mended = CameraChanges(**{column: getattr(CAMERA, column)}).applied_to(renamed)
    write_camera(broken, mended, 3, CIPHER, T0_US)
    assert camera_of(broken, CIPHER) == CAMERA.model_copy(update={"name": "Front"})


def test_a_camera_whose_row_is_whole_comes_back_as_it_was() -> None:
    assert camera_of(row(), CIPHER) == CAMERA


RIGHT = [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0]]
LEFT = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0]]


@pytest.mark.parametrize(
    ("before", "after", "since_us", "expected"),
    [
        ([], [], None, None),
        ([], [LEFT], None, 9),
        ([LEFT], [LEFT], 5, 5),
        ([LEFT, RIGHT], [RIGHT], 5, 5),  # one less hides no more than before
        ([LEFT], [LEFT, RIGHT], 5, 9),
        ([LEFT], [RIGHT], 5, 9),
        ([LEFT], [LEFT, RIGHT], 20, 21),  # the clock was set back, and order is kept
        ([LEFT], [], 5, None),
        (None, [LEFT], None, 9),
        ({"a": 1}, [LEFT], 5, 9),
        ([LEFT], [LEFT], None, 9),  # since when was never known
    ],
)
def test_since_when_a_camera_has_its_masks(
    before: Any, after: list[Any], since_us: int | None, expected: int | None
) -> None:
    assert masks_since(before, after, since_us, 9) == expected
