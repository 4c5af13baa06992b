"""Composed scenes: figures on scripted paths, so that the ground truth is exact.

A scene consists of a script (who is where at which second) and a backdrop. `render` draws its
frames. `truth` derives from the script alone which boxes a perfect detector would find in each
frame. All coordinates of scripts are normalized; a scene can be drawn at any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cluster.demo.backdrops import Backdrop, paint
from cluster.demo.cutouts import CutOut, Figure, Pixels, cut_out, load_image

NormalizedBox = tuple[float, float, float, float]

# Shadows anchor figures to the ground, as in the photographs that detectors are trained on.
_SHADOW_DARKNESS = 0.45
_SHADOW_FLATNESS = 0.07  # half height of the ellipse per width of the figure


class Waypoint(NamedTuple):
    """A figure's position at a second of the loop: the middle of its feet, normalized."""

    at_s: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Actor:
    """One figure and its path: straight lines at constant speed between waypoints. Absent outside
    of them.

    Attributes:
        id: its name in the ground truth.
        height: of the figure, as a share of the frame height.
        mirrored: flipped horizontally, so that it faces its direction.

    Raises:
        ValueError: there are fewer than two waypoints, or they are not in time order.
    """

    id: str
    figure: Figure
    height: float
    trajectory: tuple[Waypoint, ...]
    mirrored: bool = False

    def __post_init__(self) -> None:
        if len(self.trajectory) < 2 or any(a.at_s >= b.at_s for a, b in pairwise(self.trajectory)):
            raise ValueError(f"{self.id}: a trajectory needs at least two waypoints, in time order")

    def position(self, at_s: float) -> tuple[float, float] | None:
        """Normalized foot point at a second of the loop; None while absent."""
        for a, b in pairwise(self.trajectory):
            if a.at_s <= at_s < b.at_s:
                share = (at_s - a.at_s) / (b.at_s - a.at_s)
                return a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share
        return None


@dataclass(frozen=True, slots=True)
class Scene:
    """A loop. It starts and ends empty, so that the seam is invisible.

    Raises:
        ValueError: a figure is present at the start or end of the loop.
    """

    name: str
    backdrop: Backdrop
    duration_s: float
    actors: tuple[Actor, ...]
    fps: int = 25

    def __post_init__(self) -> None:
        if any(
            a.trajectory[0].at_s <= 0 or a.trajectory[-1].at_s >= self.duration_s
            for a in self.actors
        ):
            raise ValueError(f"{self.name}: every figure must enter and leave within the loop")

    @property
    def frames(self) -> int:
        """Number of frames in the loop."""
        return round(self.duration_s * self.fps)


@dataclass(frozen=True, slots=True)
class TruthObject:
    """One figure in one frame.

    Attributes:
        actor: id of the figure.
        label: class name.
        box: x1, y1, x2, y2 of the part inside the frame, normalized.
        visible: share of the figure's box that is inside the frame, 0..1.
    """

    actor: str
    label: str
    box: NormalizedBox
    visible: float

    @property
    def foot(self) -> tuple[float, float]:
        """Bottom centre of the box: the point that zones and lines test."""
        return (self.box[0] + self.box[2]) / 2, self.box[3]


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The objects in each frame of one loop of a scene.

    Attributes:
        frames: one tuple of objects per frame.
    """

    fps: int
    frames: tuple[tuple[TruthObject, ...], ...]

    def of(self, actor: str) -> Iterator[tuple[int, TruthObject]]:
        """Frame numbers and boxes of one figure, in order."""
        for number, objects in enumerate(self.frames):
            yield from ((number, o) for o in objects if o.actor == actor)

    def actors(self) -> tuple[str, ...]:
        """Ids of all figures, in order of appearance."""
        return tuple(dict.fromkeys(o.actor for objects in self.frames for o in objects))


@dataclass(frozen=True, slots=True)
class _Sprite:
    """A figure at its final size, with its shadow.

    Attributes:
        pixels: float32 (h, w, 3), BGR.
        alpha: float32 (h, w, 1) of the figure, 0..1.
        shade: float32 (h, w, 1), share of light that the shadow leaves, 0..1.
        foot: x, y in sprite pixels of the middle of the feet.
        body: x1, y1, x2, y2 in sprite pixels of the figure without its shadow.
    """

    pixels: npt.NDArray[np.float32]
    alpha: npt.NDArray[np.float32]
    shade: npt.NDArray[np.float32]
    foot: tuple[float, float]
    body: tuple[int, int, int, int]


class Stage:
    """A scene prepared for drawing at one size.

    Args:
        size: width and height in pixels, even numbers.

    Raises:
        ConfigError: the source image is missing.
    """

    def __init__(self, scene: Scene, size: tuple[int, int]) -> None:
        self.scene = scene
        self.size = size
        image = load_image()
        self.background = paint(scene.backdrop, image, size)
        figures = {figure: cut_out(image, figure) for figure in Figure}
        self._sprites = {a.id: _sprite(figures[a.figure], a, size[1]) for a in scene.actors}

    def render(self) -> Iterator[Pixels]:
        """The frames of one loop: uint8 (height, width, 3), BGR."""
        for number in range(self.scene.frames):
            yield self.frame(number)

    def frame(self, number: int) -> Pixels:
        """Frame `number` of the loop: uint8 (height, width, 3), BGR."""
        canvas = self.background.copy()
        for actor, (x, y) in self._cast(number):
            _draw(canvas, self._sprites[actor.id], x * self.size[0], y * self.size[1])
        return canvas

    def truth(self) -> GroundTruth:
        """The ground truth, derived from script and outlines, not from pixels."""
        return GroundTruth(
            self.scene.fps,
            tuple(
                tuple(o for a, at in self._cast(n) if (o := self._object(a, at)) is not None)
                for n in range(self.scene.frames)
            ),
        )

    def _cast(self, number: int) -> list[tuple[Actor, tuple[float, float]]]:
        """Who is in the frame and where. Far figures come first, so that near ones cover them."""
        at_s = number / self.scene.fps
        present = [(a, at) for a in self.scene.actors if (at := a.position(at_s)) is not None]
        return sorted(present, key=lambda item: item[1][1])

    def _object(self, actor: Actor, at: tuple[float, float]) -> TruthObject | None:
        width, height = self.size
        sprite = self._sprites[actor.id]
        left, top = at[0] * width - sprite.foot[0], at[1] * height - sprite.foot[1]
        x1, y1 = left + sprite.body[0], top + sprite.body[1]
        x2, y2 = left + sprite.body[2], top + sprite.body[3]
        cx1, cy1, cx2, cy2 = max(0.0, x1), max(0.0, y1), min(width, x2), min(height, y2)
        if cx2 - cx1 < 1 or cy2 - cy1 < 1:
            return None
        visible = (cx2 - cx1) * (cy2 - cy1) / ((x2 - x1) * (y2 - y1))
        box = (cx1 / width, cy1 / height, cx2 / width, cy2 / height)
        return TruthObject(actor.id, actor.figure.label, box, visible)


def _sprite(figure: CutOut, actor: Actor, scene_height: int) -> _Sprite:
    scaled = figure.scaled(round(actor.height * scene_height), mirrored=actor.mirrored)
    width = scaled.alpha.shape[1]
    margin = max(4, round(width * 0.15))
    grown = [(margin, margin), (margin, margin)]
    alpha = np.pad(scaled.alpha, grown).astype(np.float32)[..., None] / np.float32(255)
    pixels = np.pad(scaled.pixels, [*grown, (0, 0)], mode="edge").astype(np.float32)
    solid = np.argwhere(alpha[..., 0] > 0.5)
    (y1, x1), (y2, x2) = solid.min(axis=0), solid.max(axis=0) + 1
    foot = ((x1 + x2) / 2, float(y2))
    shadow = np.zeros(alpha.shape[:2], np.float32)
    axes = (round(width * 0.48), max(2, round(width * _SHADOW_FLATNESS)))
    cv2.ellipse(shadow, (round(foot[0]), int(y2) - 2), axes, 0, 0, 360, 1.0, -1)
    soft = np.asarray(cv2.GaussianBlur(shadow, (0, 0), max(1.0, width / 30)), np.float32)
    shade = np.float32(1) - np.float32(_SHADOW_DARKNESS) * soft[..., None]
    return _Sprite(pixels, alpha, shade, foot, (int(x1), int(y1), int(x2), int(y2)))


def _draw(canvas: Pixels, sprite: _Sprite, foot_x: float, foot_y: float) -> None:
    """Draw a sprite onto the canvas, uint8 (height, width, 3). Its foot has subpixel precision."""
    left, top = foot_x - sprite.foot[0], foot_y - sprite.foot[1]
    x, y = int(np.floor(left)), int(np.floor(top))
    height, width = sprite.alpha.shape[0] + 1, sprite.alpha.shape[1] + 1
    shift = np.array([[1, 0, left - x], [0, 1, top - y]], np.float32)
    cx1, cy1 = max(0, x), max(0, y)
    cx2, cy2 = min(canvas.shape[1], x + width), min(canvas.shape[0], y + height)
    if cx1 >= cx2 or cy1 >= cy2:
        return
    window = np.s_[cy1 - y : cy2 - y, cx1 - x : cx2 - x]

    def moved(layer: npt.NDArray[np.float32], border: float) -> npt.NDArray[np.float32]:
        out = cv2.warpAffine(layer, shift, (width, height), borderValue=(border,) * 3)
        return np.asarray(out, np.float32).reshape(height, width, -1)[window]

    alpha = moved(sprite.alpha, 0.0)
    ground = canvas[cy1:cy2, cx1:cx2] * moved(sprite.shade, 1.0)
    blended = moved(sprite.pixels, 0.0) * alpha + ground * (1 - alpha)
    canvas[cy1:cy2, cx1:cx2] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
