"""Static backgrounds of the composed scenes. A detector must find nothing in them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import cv2
import numpy as np

from cluster.demo.cutouts import Pixels

# Parts of the source image without people or vehicles, as x1, y1, x2, y2 in its pixels.
_FACADE = (0, 0, 810, 232)
_PAVEMENT = (345, 765, 660, 1060)

_GRAIN_SEED = 20_240_501  # same asphalt on every machine: the cache key does not cover the pixels


class Backdrop(StrEnum):
    """The backgrounds."""

    STREET = "street"
    YARD = "yard"


def paint(backdrop: Backdrop, image: Pixels, size: tuple[int, int]) -> Pixels:
    """Draw a background.

    Args:
        image: from `cutouts.load_image`, uint8 (1080, 810, 3), BGR.
        size: width and height in pixels.

    Returns:
        uint8 (height, width, 3), BGR.
    """
    painters: dict[Backdrop, Callable[[Pixels, int, int], Pixels]] = {
        Backdrop.STREET: _street,
        Backdrop.YARD: _yard,
    }
    # A real lens is softer than a downscaled image, and softness makes key frames a third smaller.
    soft = cv2.GaussianBlur(painters[backdrop](image, *size), (0, 0), 0.7 * size[1] / 360)
    return np.asarray(soft, np.uint8)


def _street(image: Pixels, width: int, height: int) -> Pixels:
    """House fronts, a road, and a wide pavement in front."""
    canvas = np.zeros((height, width, 3), np.uint8)
    top, kerb, walk = (round(height * part) for part in (0.50, 0.53, 0.70))
    canvas[:top] = _part(image, _FACADE, width, top)
    canvas[top:kerb] = (150, 155, 160)
    canvas[kerb:walk] = _asphalt(width, walk - kerb, height, shade=98)
    canvas[walk:] = _part(image, _PAVEMENT, width, height - walk)
    cv2.rectangle(canvas, (0, walk), (width, walk + max(2, height // 90)), (190, 195, 198), -1)
    return canvas


def _yard(image: Pixels, width: int, height: int) -> Pixels:
    """The same houses mirrored at dusk, and an open yard with painted bays."""
    canvas = np.zeros((height, width, 3), np.uint8)
    top = round(height * 0.48)
    canvas[:top] = cv2.flip(_part(image, _FACADE, width, top), 1)
    canvas[top:] = _asphalt(width, height - top, height, shade=112)
    thick = max(2, height // 120)
    for i in range(-1, 6):
        near, far = (round(width * (0.2 * i + lean)) for lean in (0.0, 0.12))
        cv2.line(
            canvas, (far, round(height * 0.56)), (near, round(height * 0.72)), (205,) * 3, thick
        )
    dusk = canvas.astype(np.float32) * np.array([0.86, 0.74, 0.68], np.float32)
    return np.asarray(np.clip(dusk, 0, 255), np.uint8)


def _part(image: Pixels, box: tuple[int, int, int, int], width: int, height: int) -> Pixels:
    x1, y1, x2, y2 = box
    part = cv2.resize(image[y1:y2, x1:x2], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(part, np.uint8)


def _asphalt(width: int, height: int, scene_height: int, *, shade: int) -> Pixels:
    """Grey asphalt, uint8 (height, width, 3). Its grain scales with the scene."""
    grain = np.random.default_rng(_GRAIN_SEED).normal(0.0, 14.0, (height, width)).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(grain, (0, 0), scene_height / 360))
    grey = np.clip(shade + soft, 0, 255).astype(np.uint8)
    return np.asarray(cv2.merge([grey, grey, grey]), np.uint8)
