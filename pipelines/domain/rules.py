"""Rules that raise alarms, and the plan that carries them to a watcher."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, StringConstraints, field_validator

from pipelines.domain.base import CameraKey, Frozen, Slug, UnitFloat
from pipelines.domain.cameras import Camera
from pipelines.domain.geometry import MIN_LINE_LENGTH, Line, Polygon
from pipelines.domain.schedules import Schedule


class RuleKind(StrEnum):
    ZONE_ENTRY = "zone_entry"
    LINE_CROSS = "line_cross"
    LOITER = "loiter"
    COUNT = "count"


ClassName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
# Of one rule. Who wants more of a model's classes than this wants all of them, which is none named.
MAX_CLASSES = 100


class RuleBase(Frozen):
    """Fields of every rule. Empty `classes` match every class of the model."""

    id: Slug
    name: Annotated[str, StringConstraints(max_length=120)] = ""
    classes: Annotated[tuple[ClassName, ...], Field(max_length=MAX_CLASSES)] = ()
    min_confidence: UnitFloat = 0.4
    schedule: Schedule | None = None
    cooldown_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0


class ZoneRule(RuleBase):
    polygon: Polygon


class ZoneEntryRule(ZoneRule):
    """A track's foot point enters the polygon, or first appears inside it."""

    kind: Literal[RuleKind.ZONE_ENTRY] = RuleKind.ZONE_ENTRY


class LineCrossRule(RuleBase):
    """A track's foot point crosses the line. Left and right are as seen in the frame from the first
    point towards the second."""

    kind: Literal[RuleKind.LINE_CROSS] = RuleKind.LINE_CROSS
    line: Line
    direction: Literal["any", "left_to_right", "right_to_left"] = "any"

    @field_validator("line")
    @classmethod
    def _long_enough(cls, value: Line) -> Line:
        (ax, ay), (bx, by) = value
        if np.hypot(bx - ax, by - ay) < MIN_LINE_LENGTH:
            raise ValueError("the line's two points are (almost) the same; move them apart")
        return value


class LoiterRule(ZoneRule):
    """A track stays inside the polygon for at least `seconds`."""

    kind: Literal[RuleKind.LOITER] = RuleKind.LOITER
    seconds: Annotated[float, Field(gt=0, le=86_400)]


class CountRule(ZoneRule):
    """At least `n` tracks are inside the polygon for `seconds` without interruption."""

    kind: Literal[RuleKind.COUNT] = RuleKind.COUNT
    n: Annotated[int, Field(ge=1, le=1_000)]
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0


Rule = Annotated[
    ZoneEntryRule | LineCrossRule | LoiterRule | CountRule, Field(discriminator="kind")
]


class CameraPlan(Frozen):
    """Everything a watcher needs to know about its camera. Higher revisions replace lower ones."""

    camera: Camera
    rules: tuple[Rule, ...] = ()
    revision: int = 0

    @property
    def key(self) -> CameraKey:
        return self.camera.key
