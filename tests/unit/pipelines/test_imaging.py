"""Letterboxing and crops from RGB and from planes, at the sizes that cameras really send."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import Letterbox
from pipelines.imaging import (
    I420,
    PAD,
    crop_jpeg,
    cut_crop_i420,
    cut_crop_rgb,
    letterbox_i420,
    letterbox_rgb,
    to_rgb,
)
from tests.unit.pipelines.properties import PROPERTY

INPUT = (640, 384)
SIZES = [
    (640, 360),
    (1920, 1080),
    (640, 272),
    (641, 271),
    (360, 640),
    (1080, 1920),
    (640, 480),
    (352, 288),
    (3, 3),
    (1, 1),
    (4000, 3),
]


def picture(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Smooth colours, so that half-size chroma and scaling lose little."""
    x = np.linspace(0, 1, width)[None, :]
    y = np.linspace(0, 1, height)[:, None]
    planes = [60 + 120 * (x + 0 * y), 60 + 120 * (y + 0 * x), 180 - 60 * (x + y)]
    return np.stack(planes, axis=2).astype(np.uint8)


def planes_of(rgb: npt.NDArray[np.uint8]) -> I420:
    """I420 by definition: BT.601 limited range, chroma as the mean of each 2x2 block."""
    r, g, b = (rgb[..., i].astype(np.float64) for i in range(3))
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255

    def halved(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        height, width = plane.shape
        padded = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
        blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
        return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)

    return I420(np.round(y).astype(np.uint8), halved(u), halved(v))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_rgb_and_i420_give_the_same_input(width: int, height: int) -> None:
    rgb = picture(width, height)
    one, other = letterbox_rgb(rgb, INPUT), letterbox_i420(planes_of(rgb), INPUT)
    assert one.letterbox == other.letterbox
    difference = np.abs(one.pixels.astype(int) - other.pixels.astype(int))
    if min(width, height) > 100:
        assert difference.mean() < 2
        assert np.percentile(difference, 99) <= 6


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_borders_are_grey_and_the_content_is_centred(width: int, height: int) -> None:
    frame = letterbox_rgb(np.zeros((height, width, 3), np.uint8), INPUT)
    content_width, content_height = frame.letterbox.content
    left, top = frame.letterbox.pad
    inside = np.zeros(INPUT[::-1], bool)
    inside[top : top + content_height, left : left + content_width] = True
    assert (frame.pixels[inside] == 0).all()
    assert (frame.pixels[~inside] == PAD).all()
    assert abs((INPUT[0] - content_width) - 2 * left) <= 1
    assert abs((INPUT[1] - content_height) - 2 * top) <= 1


@PROPERTY
@given(
    st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    st.sampled_from([(640, 384), (640, 640), (384, 640), (96, 64)]),
    st.tuples(*[st.floats(0, 1) for _ in range(4)]),
)
def test_boxes_come_back_to_the_source(
    source: tuple[int, int],
    input: tuple[int, int],
    corners: tuple[float, float, float, float],
) -> None:
    letterbox = Letterbox.fit(source, input)
    box = np.array([corners], dtype=np.float32) * np.array([*source, *source], dtype=np.float32)
    sent = box * letterbox.scale + np.array([*letterbox.pad, *letterbox.pad], dtype=np.float32)
    assert np.allclose(letterbox.to_source(sent), box, atol=0.05)


@pytest.mark.parametrize("size", [(1280, 720), (641, 271), (360, 640)])
def test_a_mark_is_found_where_it_is(size: tuple[int, int]) -> None:
    """A white square, found again in the input and sent back through the letterbox."""
    width, height = size
    rgb = np.zeros((height, width, 3), np.uint8)
    x1, y1, side = width // 3, height // 4, min(width, height) // 4
    rgb[y1 : y1 + side, x1 : x1 + side] = 255
    for frame in (letterbox_rgb(rgb, INPUT), letterbox_i420(planes_of(rgb), INPUT)):
        rows, columns = np.where(frame.pixels[..., 1] > 185)
        found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
        back = frame.letterbox.to_source(found.astype(np.float32))[0]
        slack = 1.6 / frame.letterbox.scale
        assert np.allclose(back, [x1, y1, x1 + side, y1 + side], atol=slack)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_planes_from_a_packed_buffer(width: int, height: int) -> None:
    planes = planes_of(picture(width, height))
    packed = b"".join(plane.tobytes() for plane in (planes.y, planes.u, planes.v))
    again = I420.from_buffer(packed, width, height)
    assert again.size == (width, height)
    for one, other in ((again.y, planes.y), (again.u, planes.u), (again.v, planes.v)):
        assert np.array_equal(one, other)
    with pytest.raises(ValueError, match="bytes for I420"):
        I420.from_buffer(packed + b"x", width, height)


def test_colours_are_right() -> None:
    for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]:
        rgb = np.full((31, 33, 3), colour, np.uint8)
        assert np.abs(to_rgb(planes_of(rgb)).astype(int) - rgb).max() <= 3


def test_even_frames_convert_as_opencv_does() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    packed = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    planes = I420.from_buffer(packed.tobytes(), 64, 48)
    assert np.array_equal(to_rgb(planes), cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420))


@PROPERTY
@given(st.data(), st.sampled_from([(64, 48), (33, 31), (2, 2), (1, 1), (7, 40)]))
def test_a_crop_is_that_part_of_the_frame(data: st.DataObject, size: tuple[int, int]) -> None:
    width, height = size
    x1 = data.draw(st.integers(0, width - 1))
    y1 = data.draw(st.integers(0, height - 1))
    box = (x1, y1, data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height)))
    rng = np.random.default_rng(1)
    half = ((height + 1) // 2, (width + 1) // 2)
    planes = I420(*(rng.integers(0, 256, s, dtype=np.uint8) for s in ((height, width), half, half)))
    whole = to_rgb(planes)
    part = cut_crop_i420(planes, box)
    assert np.array_equal(part, cut_crop_rgb(whole, box))
    assert part.flags.c_contiguous
    assert not np.shares_memory(part, planes.y)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 5), (5, 5, 4, 9), (-1, 0, 5, 5), (0, 0, 65, 5), (0, 0, 5, 49)]
)
def test_a_box_outside_the_frame_is_rejected(box: tuple[int, int, int, int]) -> None:
    rgb = picture(64, 48)
    with pytest.raises(ValueError, match="not inside"):
        cut_crop_rgb(rgb, box)
    with pytest.raises(ValueError, match="not inside"):
        cut_crop_i420(planes_of(rgb), box)


def test_invalid_arrays_are_rejected() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        letterbox_rgb(np.zeros((4, 4), np.uint8), INPUT)
    with pytest.raises(ValueError, match="expected chroma"):
        I420(np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="uint8 planes"):
        I420(np.zeros((4, 4)), np.zeros((2, 2)), np.zeros((2, 2)))  # type: ignore[arg-type]


@pytest.mark.parametrize("turned", [False, True], ids=["contiguous", "view"])
def test_a_crop_as_jpeg_shows_the_crop(turned: bool) -> None:
    height, width = 61, 40
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[..., 0] = np.linspace(0, 255, height)[:, None]
    rgb[..., 1], rgb[..., 2] = 90, 200
    crop = rgb[::-1, ::-1] if turned else rgb
    decoded = cv2.imdecode(np.frombuffer(crop_jpeg(crop), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    error = np.abs(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(int) - crop)
    assert error.max() <= 8


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4), (4, 4, 4)])
def test_no_jpeg_is_made_of_what_is_no_crop(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the encoder's own message
        crop_jpeg(np.zeros(shape, np.uint8))
