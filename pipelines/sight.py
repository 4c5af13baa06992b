"""Whether a camera still sees its scene: finds black, frozen, covered, blurred, moved and dazzled
pictures. cv2 and numpy only; no clock, no I/O.

Works on small luma, about once a second. What is normal for a camera is learnt from itself; until
then only what is wrong with any picture is found. A suspicion must last before it is a fault, and
a fault ends when the suspicion has been gone for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.domain import Fault, PictureFault, Polygon

Luma = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]

WIDTH, HEIGHT = 192, 108
"""Of the luma that is looked at: at 1080p one cell is 10x10 pixels."""
INTERVAL_US = 1_000_000
MIN_CELLS = 0.1
"""Part of the picture that privacy masks must leave free; else nothing is looked for."""


_AFTER_S: Mapping[PictureFault, float] = MappingProxyType(
    {
        PictureFault.BLACK: 15.0,
        PictureFault.GLARE: 20.0,
        PictureFault.COVERED: 15.0,
        PictureFault.FROZEN: 60.0,
        PictureFault.BLURRED: 30.0,
        PictureFault.MOVED: 60.0,
    }
)


@dataclass(frozen=True, slots=True)
class SightLimits:
    """When a suspicion becomes a fault. Chosen on the composed scenes of
    `tests/unit/pipelines/test_sight.py`; luma is that of video, with black at 16 and white at 235.

    Attributes:
        black_below: brightest cells (98th percentile) of a black picture.
        flat_below: contrast (standard deviation of the cells) of a picture without anything in it.
        plain_span: difference between the brightest and the darkest cells of a cover. Small or pale
            objects in front of a plain wall leave little contrast, but exceed this; noise of ten
            grey levels at 360p comes to 16.
        glare_above: luma of a dazzled cell; `glare_part`: that many more of them than usual.
        covered_part: contrast and edges, of the usual ones.
        blurred_part: edges, of the usual ones, at a contrast of at least `clear_part`.
        same_part: cells that may differ between two pictures of a frozen camera. Of a quiet scene
            at 1080p with noise of a fifth of a grey level 3 % differ.
        moved_below: correlation of the edges with the usual ones.
        same_scene: the same, below which little contrast is a cover, not little light.
        after_s: how long each suspicion must last.
        frozen_unlearnt_s: the same of a camera that was frozen from the start, or often is the
            same for a while: a picture without noise.
        clear_s: how long the picture must be good before a fault ends.
        relearn_s: after so long a blurred or moved picture is the usual one.
    """

    black_below: float = 26.0
    flat_below: float = 2.0
    plain_span: float = 16.0
    glare_above: float = 225.0
    glare_part: float = 0.5
    covered_part: float = 0.3
    blurred_part: float = 0.4
    clear_part: float = 0.45
    same_part: float = 0.001
    moved_below: float = 0.25
    same_scene: float = 0.5
    after_s: Mapping[PictureFault, float] = field(default_factory=lambda: _AFTER_S)
    frozen_unlearnt_s: float = 300.0
    clear_s: float = 10.0
    relearn_s: float = 3_600.0


DEFAULTS = SightLimits()

# Seconds: of the average in which noise disappears, and of what is usual.
_FAST_S, _SLOW_S = 5.0, 600.0
# What is usual is known after this many looks.
_WARM_UP = 60
# Part of the looks at which a picture without noise, as programs make it, is the same as before.
_MOSTLY = 0.2
# Longer pauses say nothing about a picture: as a new start.
_MAX_STEP_S = 30.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one picture is like.

    Attributes:
        bright: 98th percentile of the cells.
        span: between the brightest and the darkest cells, half a percent left out at both ends.
        contrast: standard deviation of the cells, averaged over some seconds.
        edges: mean of the strongest twentieth of the gradients of that average.
        glare: part of the cells that are dazzled.
        changed: part of the cells that differ from the picture before.
        likeness: correlation of the edges with the usual ones, -1 to 1.
    """

    bright: float
    span: float
    contrast: float
    edges: float
    glare: float
    changed: float
    likeness: float


@dataclass(slots=True)
class _Usual:
    """What is usual for a camera: running means."""

    contrast: float = 0.0
    edges: float = 0.0
    glare: float = 0.0
    changed: float = 0.0
    looks: int = 0

    @property
    def known(self) -> bool:
        return self.looks >= _WARM_UP

    def learn(self, look: Look, step_s: float) -> None:
        # A plain mean at first, so that the first looks do not count for ten minutes.
        weight = max(step_s / _SLOW_S, 1.0 / (self.looks + 1))
        self.contrast += weight * (look.contrast - self.contrast)
        self.edges += weight * (look.edges - self.edges)
        self.glare += weight * (look.glare - self.glare)
        self.changed += weight * (look.changed - self.changed)
        self.looks += 1


class SightCheck:
    """Looks at one camera's pictures. One thread; memory is three small pictures.

    Args:
        masks: what is painted over, and so says nothing.
    """

    _last_us: int
    _shape: tuple[int, ...]

    def __init__(self, masks: Sequence[Polygon] = (), limits: SightLimits = DEFAULTS) -> None:
        self.masks = tuple(masks)
        self.fault: Fault | None = None
        self._limits = limits
        self._cells = _free_cells(self.masks)
        self._start()

    def due(self, capture_us: int) -> bool:
        """Whether it is time to look again."""
        return not 0 <= capture_us - self._last_us < INTERVAL_US

    def step(self, capture_us: int, luma: Luma) -> Fault | None:
        """Look at a picture; returns what is wrong by now.

        Args:
            luma: uint8 (height, width), masks painted in.
        """
        step_s = (capture_us - self._last_us) / 1e6
        if luma.shape != self._shape or not 0 < step_s <= _MAX_STEP_S:
            self._start()
            self._shape, step_s = luma.shape, INTERVAL_US / 1e6
        self._last_us = capture_us
        if self._cells.mean() < MIN_CELLS:
            return None
        suspected = self._suspect(self._look(luma, step_s))
        self._learn(suspected, step_s)
        self._judge(capture_us, suspected)
        return self.fault

    def _start(self) -> None:
        self.fault = None
        self._last_us = -INTERVAL_US
        self._shape = ()
        self._before: Luma | None = None
        self._average: Grey | None = None
        self._scene: Grey | None = None
        self._edges: Grey = np.zeros((HEIGHT, WIDTH), np.float32)
        self._usual = _Usual()
        self._still = 0.0
        self._latest: Look | None = None
        self._suspected_us: dict[PictureFault, int] = {}
        self._good_us: int | None = None

    # ------------------------------------------------------------ what it looks like

    def _look(self, luma: Luma, step_s: float) -> Look:
        small = cv2.resize(luma, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8)
        free = small[self._cells]
        changed = 1.0 if self._before is None else float(np.mean(free != self._before[self._cells]))
        self._before = small
        grey = small.astype(np.float32)
        if self._average is None:
            self._average = grey
        else:
            self._average += min(1.0, step_s / _FAST_S) * (grey - self._average)
        edges = _gradients(self._average)
        self._edges = edges
        strongest = max(1, free.size // 20)
        strong = np.partition(edges[self._cells], -strongest)[-strongest:]
        darkest, bright, brightest = np.percentile(free, (0.5, 98, 99.5))
        self._latest = Look(
            bright=float(bright),
            span=float(brightest - darkest),
            contrast=float(self._average[self._cells].std()),
            edges=float(strong.mean()),
            glare=float(np.mean(free >= self._limits.glare_above)),
            changed=changed,
            likeness=_likeness(edges, self._scene, self._cells),
        )
        return self._latest

    # ------------------------------------------------------------ what may be wrong with it

    def _suspect(self, look: Look) -> frozenset[PictureFault]:
        limits, usual = self._limits, self._usual
        flat = look.contrast < limits.flat_below
        dark = look.bright < limits.black_below
        found = set[PictureFault]()
        if dark and flat:
            found.add(PictureFault.BLACK)
        if look.changed < limits.same_part:
            found.add(PictureFault.FROZEN)
        usual_glare = usual.glare if usual.known else 0.0
        if look.glare > min(0.95, usual_glare + limits.glare_part):
            found.add(PictureFault.GLARE)
        elif flat and not dark and look.span < limits.plain_span:
            found.add(PictureFault.COVERED)
        # Of what is dark no more can be said: light may have been switched off.
        if usual.known and not dark:
            found |= self._suspect_unusual(look)
        return frozenset(found)

    def _suspect_unusual(self, look: Look) -> set[PictureFault]:
        limits, usual = self._limits, self._usual
        contrast = look.contrast / max(usual.contrast, 1e-3)
        edges = look.edges / max(usual.edges, 1e-3)
        # Below this there was never much to see, and noise decides.
        plain = usual.contrast < 3 * limits.flat_below
        if plain:
            return set()
        # Lamps that go out take contrast and edges with them, but leave the edges where they were.
        gone = contrast < limits.covered_part and edges < limits.covered_part
        if gone and look.likeness < limits.same_scene:
            return {PictureFault.COVERED}
        if edges < limits.blurred_part and contrast >= limits.clear_part:
            return {PictureFault.BLURRED}
        if look.likeness < limits.moved_below and contrast >= limits.clear_part:
            return {PictureFault.MOVED}
        return set()

    def _learn(self, suspected: frozenset[PictureFault], step_s: float) -> None:
        """A picture that may be wrong is not usual. One that does not change says nothing new."""
        look = self._latest
        if look is None:
            return
        still = suspected == {PictureFault.FROZEN}
        if still or not suspected:
            self._still += step_s / _SLOW_S * (still - self._still)
        if suspected:
            return
        self._usual.learn(look, step_s)
        if self._scene is None:
            self._scene = self._edges.copy()
        else:
            weight = max(step_s / _SLOW_S, 1.0 / self._usual.looks)
            self._scene += weight * (self._edges - self._scene)

    # ------------------------------------------------------------ hysteresis

    def _judge(self, now_us: int, suspected: frozenset[PictureFault]) -> None:
        for kind in self._suspected_us.keys() - suspected:
            del self._suspected_us[kind]
        for kind in suspected:
            self._suspected_us.setdefault(kind, now_us)
        lasting = [kind for kind in PictureFault if self._lasts(kind, now_us)]
        if lasting:
            self._good_us = None
            kind = lasting[0]
            if self.fault is None or self.fault.kind is not kind:
                self.fault = Fault(kind, self._suspected_us[kind])
            self._get_used_to(now_us)
        elif self.fault is not None and self.fault.kind not in suspected:
            self._good_us = now_us if self._good_us is None else self._good_us
            if now_us - self._good_us >= self._limits.clear_s * 1e6:
                self.fault, self._good_us = None, None
        else:
            self._good_us = None

    def _lasts(self, kind: PictureFault, now_us: int) -> bool:
        since_us = self._suspected_us.get(kind)
        if since_us is None:
            return False
        after_s = self._limits.after_s[kind]
        noisy = self._usual.known and self._still < _MOSTLY
        if kind is PictureFault.FROZEN and not noisy:
            after_s = self._limits.frozen_unlearnt_s
        return now_us - since_us >= after_s * 1e6

    def _get_used_to(self, now_us: int) -> None:
        """What was blurred or moved for long is how it is now."""
        fault = self.fault
        if fault is None or fault.kind not in (PictureFault.BLURRED, PictureFault.MOVED):
            return
        if now_us - fault.since_us >= self._limits.relearn_s * 1e6:
            last_us, shape = self._last_us, self._shape
            self._start()
            self._last_us, self._shape = last_us, shape


def _gradients(grey: Grey) -> Grey:
    """Strength of the edges, float32 like `grey`."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3)
    return cv2.magnitude(across, down).astype(np.float32)


def _likeness(edges: Grey, scene: Grey | None, cells: Cells) -> float:
    """Correlation of two pictures' edges, where nothing is masked; 1 where there is nothing to
    compare with. Slightly smoothed, so that a camera that shakes in the wind has not moved."""
    if scene is None:
        return 1.0
    one, other = (cv2.GaussianBlur(e, (0, 0), 2.0)[cells] for e in (edges, scene))
    one, other = one - one.mean(), other - other.mean()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 if length < 1e-6 else float(np.dot(one, other)) / length


def _free_cells(masks: Sequence[Polygon]) -> Cells:
    """Which cells no mask touches, bool (HEIGHT, WIDTH)."""
    painted = np.zeros((HEIGHT, WIDTH), np.uint8)
    for mask in masks:
        corners = np.array(mask, np.float64) * (WIDTH, HEIGHT)
        cv2.fillPoly(painted, [np.round(corners).astype(np.int32)], 1)
    # Borders of masks are edges that say nothing.
    return np.asarray(cv2.dilate(painted, np.ones((5, 5), np.uint8)) == 0)
