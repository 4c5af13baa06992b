"""Names of colours: known ones, and parts of a real photograph that anyone can look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import ultralytics
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.colour import COLOURS, colour_shares, dominant_colour
from tests.unit.pipelines.properties import PROPERTY

Pixels = npt.NDArray[np.uint8]


def plain(colour: str, size: tuple[int, int] = (40, 20)) -> Pixels:
    return np.full((*size, 3), np.frombuffer(bytes.fromhex(colour), np.uint8), np.uint8)


def test_eleven_names() -> None:
    assert set(COLOURS) == {
        *("black", "white", "grey", "red", "orange", "yellow"),
        *("green", "blue", "purple", "brown", "pink"),
    }


# CSS Color Module Level 4: the keyword's value, and the basic name that everybody gives it.
CSS = {
    "000000": "black",
    "1a1a1a": "black",
    "ffffff": "white",
    "f5f5f5": "white",  # whitesmoke
    "808080": "grey",
    "a9a9a9": "grey",  # darkgray
    "696969": "grey",  # dimgray
    "ff0000": "red",
    "8b0000": "red",  # darkred
    "dc143c": "red",  # crimson
    "ffa500": "orange",
    "ff8c00": "orange",  # darkorange
    "ffff00": "yellow",
    "ffd700": "yellow",  # gold
    "00ff00": "green",  # lime
    "008000": "green",
    "006400": "green",  # darkgreen
    "2e8b57": "green",  # seagreen
    "0000ff": "blue",
    "000080": "blue",  # navy
    "4169e1": "blue",  # royalblue
    "87ceeb": "blue",  # skyblue
    "1e90ff": "blue",  # dodgerblue
    "800080": "purple",
    "9400d3": "purple",  # darkviolet
    "8b4513": "brown",  # saddlebrown
    "a0522d": "brown",  # sienna
    "ffc0cb": "pink",
    "ff69b4": "pink",  # hotpink
}


@pytest.mark.parametrize(("colour", "name"), CSS.items())
def test_known_colours(colour: str, name: str) -> None:
    assert dominant_colour(plain(colour)) == name
    assert colour_shares(plain(colour))[name] == 1.0


@pytest.fixture(scope="module")
def street() -> Pixels:
    """ultralytics' bus.jpg: a blue bus with dark windows, and people, in the sun."""
    path = Path(ultralytics.__file__).parent / "assets" / "bus.jpg"
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(
    ("what", "box", "name"),
    [
        ("the blue side of the bus", (550, 520, 690, 650), "blue"),
        ("the whole bus, most of it windows", (22, 231, 805, 756), "black"),
        ("the man in a black coat", (223, 405, 345, 860), "black"),
        ("the man in a black jacket, at the edge", (670, 390, 810, 880), "black"),
        ("the red shirt in the sun", (295, 560, 308, 640), "red"),
        ("the pavement", (400, 900, 800, 1070), "grey"),
    ],
)
def test_real_crops(street: Pixels, what: str, box: tuple[int, int, int, int], name: str) -> None:
    x1, y1, x2, y2 = box

    assert dominant_colour(street[y1:y2, x1:x2]) == name, what


def test_other_colours_get_the_nearest_basic_name(street: Pixels) -> None:
    """A coat that people call beige."""
    assert dominant_colour(street[500:680, 80:180]) in {"brown", "grey", "white"}


def test_the_middle_counts_and_not_what_is_around() -> None:
    """A red object on 64 % of green ground."""
    crop = plain("008000", (100, 100))
    crop[20:80, 20:80] = plain("ff0000", (60, 60))

    assert dominant_colour(crop) == "red"


def test_a_multicoloured_object_has_no_colour() -> None:
    stripes = ["000000", "ffffff", "ff0000", "ffff00", "008000", "0000ff"]
    crop = np.concatenate([plain(colour, (32, 16)) for colour in stripes * 4], axis=1)

    assert dominant_colour(crop) is None


@PROPERTY
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_any_crop_has_a_name_or_none(height: int, width: int, seed: int) -> None:
    crop = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)

    assert dominant_colour(crop) in {*COLOURS, None}
    assert sum(colour_shares(crop).values()) == pytest.approx(1)
