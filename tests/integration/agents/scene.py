"""A short scene for watchers, in which every frame shows its own number.

The number is drawn as a row of black and white squares, which survive any video codec. So a test
can tell from the pixels alone which frame it looks at, whatever the metadata says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.demo.backdrops import Backdrop
from cluster.demo.cast import GATE_RULES, Role
from cluster.demo.cutouts import Figure
from cluster.demo.footage import Footage, composed
from cluster.demo.scene import Actor, Scene, Stage
from cluster.demo.scene import Waypoint as At
from pipelines.domain import LoiterRule, Rule

SIZE = (640, 360)
BITS = 10
SQUARE = 16

# The gate's scene, told in 12 s: watch it with 10 frames/s, for its figures are in a hurry.
SCENE = Scene(
    name="short-gate",
    backdrop=Backdrop.STREET,
    duration_s=12.0,
    actors=(
        Actor(
            "visitor",
            Figure.JACKET,
            0.52,
            (At(0.4, -0.12, 0.93), At(2.6, 0.42, 0.93), At(7.6, 0.42, 0.93), At(10.2, 1.12, 0.93)),
        ),
        Actor(
            "companion",
            Figure.COAT,
            0.48,
            (At(1.0, 1.08, 0.89), At(3.4, 0.66, 0.89), At(6.8, 0.66, 0.89), At(9.4, 1.10, 0.89)),
            mirrored=True,
        ),
        Actor("bus", Figure.BUS, 0.46, (At(6.0, 1.22, 0.69), At(11.5, -0.22, 0.69))),
    ),
)
DETECT_FPS = 10.0


def _hurried(rule: Rule) -> Rule:
    return rule.model_copy(update={"seconds": 3.0}) if isinstance(rule, LoiterRule) else rule


RULES: tuple[Rule, ...] = tuple(_hurried(rule) for rule in GATE_RULES)


def footage() -> Footage:
    plain = composed(SCENE, SIZE)

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        for number, pixels in enumerate(plain.frames()):
            for bit in range(BITS):
                shade = 255 if number >> bit & 1 else 0
                pixels[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = shade
            yield pixels

    return replace(plain, fingerprint=f"numbered {plain.fingerprint}", frames=frames)


ROLE = Role("acme", "gate", "Gate", RULES, footage, SCENE)


def number_in(luma: npt.NDArray[Any]) -> int:
    """The number of the frame, from its luma (or any colour) in the scene's size."""
    centre = SQUARE // 2
    row = luma[centre - 2 : centre + 2, : BITS * SQUARE].mean(axis=0)
    return sum(1 << bit for bit in range(BITS) if row[bit * SQUARE + centre] > 127)


def stage() -> Stage:
    return Stage(SCENE, SIZE)
