"""What colour people would call an object. Pure; cv2 and numpy only.

The names are the eleven basic colour terms of Berlin and Kay (*Basic Color Terms*, 1969). What each
looks like is taken from the xkcd colour survey of 2010 (answers of some 140,000 people, in the
public domain, https://xkcd.com/color/rgb/): the survey's colour of the bare name, and of `light`,
`medium` and `dark` with it, where there is one. A pixel has the name of the nearest of these in CIE
L*a*b* (CIE 1976), and an object the name of most of its pixels. Without the `medium` ones half of
the blue side of a bus was purple: what cameras see is never as colourful as the bare names are.

Black, grey and white have their bare colour only: with the survey's `light grey` (L* 87) and
`dark grey` (L* 22) beside it, a black coat in daylight (L* 10 to 25) and a white van in shade
(L* 80 to 90) are grey.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.domain import Crop

Pixels = npt.NDArray[np.uint8]

_SURVEY: dict[str, tuple[str, ...]] = {
    "black": ("000000",),
    "white": ("ffffff",),
    "grey": ("929591",),
    "red": ("e50000", "ff474c", "840000"),
    "orange": ("f97306", "fdaa48", "c65102"),
    "yellow": ("ffff14", "fffe7a", "d5b60a"),
    "green": ("15b01a", "96f97b", "39ad48", "033500"),
    "blue": ("0343df", "95d0fc", "2c6fbb", "00035b"),
    "purple": ("7e1e9c", "bf77f6", "9e43a2", "35063e"),
    "brown": ("653700", "ad8150", "7f5112", "341c02"),
    "pink": ("ff81c0", "ffd1df", "f36196", "cb416b"),
}
COLOURS = tuple(_SURVEY)

# The middle of a box is the object; its edges are half background. Of a standing person it is the
# trunk, from the shoulders to the hips.
_CENTRE = 0.6
# 32 x 32 pixels say the same as all of them, in 0.3 ms.
_SIDE = 32
# Fewer of its pixels than this under one name: the object has no colour of its own.
_MIN_SHARE = 0.3

_NAMES = tuple(name for name, samples in _SURVEY.items() for _ in samples)


def _lab(rgb: Pixels) -> npt.NDArray[np.float32]:
    """CIE L*a*b* (n, 3) of sRGB pixels (h, w, 3): L* 0..100."""
    scaled = rgb.astype(np.float32) / 255
    lab = cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)
    return np.asarray(lab, np.float32).reshape(-1, 3)


def _samples() -> Pixels:
    values = [bytes.fromhex(sample) for samples in _SURVEY.values() for sample in samples]
    return np.frombuffer(b"".join(values), np.uint8).reshape(1, -1, 3)


_ANCHORS = _lab(_samples())
_INDEX = np.array([COLOURS.index(name) for name in _NAMES])


def colour_shares(pixels: Pixels) -> dict[str, float]:
    """Share of the pixels under each name; all names are there, and the shares add up to 1.

    Args:
        pixels: RGB, uint8 (height, width, 3).
    """
    lab = _lab(pixels)
    distances = np.linalg.norm(lab[:, None, :] - _ANCHORS[None, :, :], axis=2)
    names = _INDEX[distances.argmin(axis=1)]
    counts = np.bincount(names, minlength=len(COLOURS))
    return {name: int(count) / len(lab) for name, count in zip(COLOURS, counts, strict=True)}


def dominant_colour(crop: Pixels) -> str | None:
    """One of COLOURS, or None where no name covers enough of the middle of the crop.

    Args:
        crop: of one object; RGB, uint8 (height, width, 3), at least 1x1.
    """
    height, width = crop.shape[:2]
    top, left = int(height * (1 - _CENTRE) / 2), int(width * (1 - _CENTRE) / 2)
    middle = crop[top : height - top, left : width - left]
    small = cv2.resize(middle, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    shares = colour_shares(np.asarray(small, np.uint8))
    best = max(COLOURS, key=lambda name: shares[name])
    return best if shares[best] >= _MIN_SHARE else None


def with_colour(crop: Crop) -> Crop:
    """The crop, with what colour it shows in its sighting."""
    colour = dominant_colour(crop.pixels)
    return replace(crop, sighting=crop.sighting.model_copy(update={"colour": colour}))
