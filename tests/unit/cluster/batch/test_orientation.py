"""Files whose display matrix turns or mirrors the picture are analysed as players show them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.batch.orientation import UPRIGHT, Orientation
from cluster.batch.sources import of_files
from cluster.batch.video import ReadStats, chunk_frames, planes_of, probe
from pipelines.domain import Polygon
from pipelines.masking import MaskPainter
from tests.unit.cluster.batch.sample_videos import SIZE, make_video

Plane = npt.NDArray[np.uint8]
ONE = 1 << 16
START_US = 1_767_225_600_000_000
NOBODY = MaskPainter(())

# The four numbers a, b, c, d of the matrix, and what a player does with the stored picture.
SHOWN: dict[str, tuple[tuple[int, int, int, int], Callable[[Plane], Plane]]] = {
    "upright": ((ONE, 0, 0, ONE), lambda stored: stored),
    "a quarter clockwise": ((0, ONE, -ONE, 0), lambda stored: np.rot90(stored, -1)),
    "a half": ((-ONE, 0, 0, -ONE), lambda stored: np.rot90(stored, 2)),
    "a quarter anticlockwise": ((0, -ONE, ONE, 0), lambda stored: np.rot90(stored, 1)),
    "mirrored": ((-ONE, 0, 0, ONE), np.fliplr),
    "mirrored, then a quarter clockwise": (
        (0, -ONE, -ONE, 0),
        lambda stored: np.rot90(np.fliplr(stored), -1),
    ),
    "a degree off": ((65526, 1144, -1144, 65526), lambda stored: stored),
}


def with_matrix(path: Path, numbers: tuple[int, int, int, int]) -> Path:
    """Write the display matrix into the MP4's track header (ISO/IEC 14496-12, 8.3.2, version 0)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    a, b, c, d = numbers
    data[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plane]:
    """A video, and the brightness of its first frame as it is stored."""
    path = make_video(tmp_path_factory.mktemp("video") / "a.mp4", frames=12)
    with av.open(str(path)) as container:
        return path, next(container.decode(video=0)).to_ndarray()[: SIZE[1]]


@pytest.mark.parametrize("held", SHOWN)
def test_frames_are_as_players_show_them(
    stored: tuple[Path, Plane], held: str, tmp_path: Path
) -> None:
    original, picture = stored
    numbers, shown = SHOWN[held]
    path = tmp_path / "a.mp4"
    path.write_bytes(original.read_bytes())
    with_matrix(path, numbers)

    frames = [planes_of(f, NOBODY) for _, f in chunk_frames(str(path), None, None, ReadStats())]

    expected = shown(picture)
    assert len(frames) == 12
    np.testing.assert_array_equal(frames[0].y, expected)
    assert all(frame.y.shape == expected.shape for frame in frames)
    rows, columns = expected.shape
    assert frames[0].u.shape == frames[0].v.shape == (rows // 2, columns // 2)


def test_masks_are_where_the_upright_picture_has_them(
    stored: tuple[Path, Plane], tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(stored[0].read_bytes())
    with_matrix(path, SHOWN["a quarter clockwise"][0])
    top: Polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))

    _, frame = next(chunk_frames(str(path), None, None, ReadStats()))
    open_planes, masked = planes_of(frame, NOBODY), planes_of(frame, MaskPainter((top,)))

    rows = masked.y.shape[0]
    assert rows == SIZE[0], "upright it is as high as it was wide"
    assert len(np.unique(masked.y[: rows // 2 - 1])) == 1
    grown = rows // 2 + 6  # by three pixels of half the size, see MaskPainter
    np.testing.assert_array_equal(masked.y[grown:], open_planes.y[grown:])


def test_a_turned_file_is_another_source(stored: tuple[Path, Plane], tmp_path: Path) -> None:
    """What an earlier version found in it, lying on its side, is not used again."""
    path = tmp_path / "a.mp4"
    path.write_bytes(stored[0].read_bytes())
    ((before,), _) = of_files([str(path)], START_US)
    with_matrix(path, SHOWN["a half"][0])
    assert probe(str(path)).turned
    ((after,), _) = of_files([str(path)], START_US)
    assert after.identity.endswith(" turned")
    assert not before.identity.endswith(" turned")


def test_an_upright_plane_is_not_copied() -> None:
    plane = np.zeros((4, 6), np.uint8)
    assert UPRIGHT.applied(plane) is plane
    turned = Orientation(transposed=True).applied(plane)
    assert turned.shape == (6, 4)
    assert turned.flags["C_CONTIGUOUS"]


@settings(deadline=None)
@given(st.binary(max_size=80))
@example(b"")
@example(struct.pack("=5i", 0, ONE, 0, -ONE, 0))
@example(struct.pack("=10i", 0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30, 0))
def test_a_matrix_of_another_length_says_nothing(matrix: bytes) -> None:
    if len(matrix) != 36:
        assert Orientation.of_matrix(matrix) == UPRIGHT


@settings(deadline=None)
@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=9, max_size=9))
@example([-(1 << 31), 0, 0, ONE, 0, 0, 0, 0, 1 << 30])
@example([ONE, 0, 0, -(1 << 31), 0, 0, 0, 0, 1 << 30])
def test_any_numbers_give_an_orientation(numbers: list[int]) -> None:
    a, b, _, c, d = numbers[:5]
    turned = Orientation.of_matrix(struct.pack("=9i", *numbers))
    assert turned.transposed is (abs(c) > abs(a))
    assert (turned.flip_x, turned.flip_y) == (
        (c < 0, b < 0) if turned.transposed else (a < 0, d < 0)
    )
