"""Weekly schedules in local time."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from pipelines.domain.base import Frozen
from pipelines.times import zone_named

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]


class Window(Frozen):
    """A period of the day in local time; it spans midnight if `end` is before `start`.

    `days` names the days on which the window *starts*.
    """

    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEKDAYS
    start: TimeOfDay = "00:00"
    end: TimeOfDay = "24:00"

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start == self.end:
            raise ValueError('start equals end; for the whole day use "00:00" to "24:00"')
        return self


class Schedule(Frozen):
    """When a rule is armed or a camera is recorded, in local time of `timezone` (IANA name)."""

    timezone: str = "UTC"
    windows: Annotated[tuple[Window, ...], Field(min_length=1, max_length=32)]

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone_named(value)
        return value
