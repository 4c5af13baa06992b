"""The cameras of the demo: their tenants, their footage, and their rules.

`expected.py` derives from the scripts when the rules of the composed scenes fire. Cooldowns are
short because the loop repeats every 30 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.demo.footage import Footage, composed, recorded
from cluster.demo.scene import Scene
from cluster.demo.scripts import GATE, YARD
from pipelines.domain import CountRule, LineCrossRule, LoiterRule, Rule, ZoneEntryRule

# Shorter than the time between any two expected alarms of a rule.
COOLDOWN_S = 0.5

_FULL_FRAME = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
_FORECOURT = ((0.25, 0.78), (0.80, 0.78), (0.80, 1.0), (0.25, 1.0))
_DOORSTEP = ((0.30, 0.82), (0.55, 0.82), (0.55, 1.0), (0.30, 1.0))
_BAY = ((0.15, 0.60), (0.60, 0.60), (0.60, 0.82), (0.15, 0.82))
_YARD_FLOOR = ((0.0, 0.80), (1.0, 0.80), (1.0, 1.0), (0.0, 1.0))

GATE_RULES: tuple[Rule, ...] = (
    ZoneEntryRule(
        id="forecourt", name="Someone on the forecourt", classes=("person",),
        polygon=_FORECOURT, cooldown_s=COOLDOWN_S,
    ),
    LineCrossRule(
        id="bus-passes", name="A bus passes towards the left", classes=("bus",),
        line=((0.5, 0.55), (0.5, 0.80)), direction="left_to_right", cooldown_s=COOLDOWN_S,
    ),
    LoiterRule(
        id="waiting", name="Someone waits at the door", classes=("person",),
        polygon=_DOORSTEP, seconds=4.0, cooldown_s=COOLDOWN_S,
    ),
    CountRule(
        id="pair", name="Two people together", classes=("person",),
        polygon=_FORECOURT, n=2, seconds=2.0, cooldown_s=COOLDOWN_S,
    ),
)  # fmt: skip

YARD_RULES: tuple[Rule, ...] = (
    ZoneEntryRule(
        id="bay", name="A bus drives into the bay", classes=("bus",),
        polygon=_BAY, cooldown_s=COOLDOWN_S,
    ),
    LoiterRule(
        id="parked", name="A bus stands in the bay", classes=("bus",),
        polygon=_BAY, seconds=5.0, cooldown_s=COOLDOWN_S,
    ),
    LineCrossRule(
        id="leaves", name="Someone leaves the yard", classes=("person",),
        line=((0.8, 0.80), (0.8, 1.0)), direction="right_to_left", cooldown_s=COOLDOWN_S,
    ),
    CountRule(
        id="two-on-foot", name="Two people in the yard", classes=("person",),
        polygon=_YARD_FLOOR, n=2, seconds=1.0, cooldown_s=COOLDOWN_S,
    ),
)  # fmt: skip

_STREET_RULES: tuple[Rule, ...] = (
    ZoneEntryRule(
        id="on-foot", name="Someone on foot", classes=("person",),
        polygon=_FULL_FRAME, cooldown_s=COOLDOWN_S,
    ),
    ZoneEntryRule(
        id="traffic", name="A vehicle comes into view", classes=("car", "bus", "truck"),
        polygon=_FULL_FRAME, cooldown_s=COOLDOWN_S,
    ),
)  # fmt: skip

_CABIN_RULES: tuple[Rule, ...] = (
    LoiterRule(
        id="occupied", name="Someone sits in the car", classes=("person",),
        polygon=_FULL_FRAME, seconds=5.0,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """One camera of the demo, without an address yet.

    Attributes:
        scene: the composed scene that it shows; None for a recording.
        footage: makes its footage. A callable, because that reads files.
    """

    tenant: str
    id: str
    name: str
    rules: tuple[Rule, ...]
    footage: Callable[[], Footage]
    scene: Scene | None = None


CAST: tuple[Role, ...] = (
    Role("acme", "gate", "Front gate", GATE_RULES, lambda: composed(GATE), GATE),
    Role("acme", "street", "Street with bicycles", _STREET_RULES, lambda: recorded("bikes")),
    Role("globex", "yard", "Bus yard", YARD_RULES, lambda: composed(YARD), YARD),
    Role("globex", "cabin", "Car cabin", _CABIN_RULES, lambda: recorded("carphone_pristine")),
)

H265_ROLE = Role(
    "globex",
    "yard-h265",
    "Bus yard (H.265)",
    YARD_RULES,
    lambda: composed(YARD, codec="h265"),
    YARD,
)
"""Demonstrates transcoding. Not part of the cast, because it takes much of a core."""
