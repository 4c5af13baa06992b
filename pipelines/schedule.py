"""When a rule is armed, by local wall-clock time in the schedule's time zone:

- The hour that clocks skip in spring does not exist and arms nothing.
- The hour that clocks repeat in autumn is armed both times.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from pipelines.domain import WEEKDAYS, Schedule, Window
from pipelines.times import moment_of


def is_armed(schedule: Schedule | None, at_us: int) -> bool:
    """Whether `at_us` (UTC, microseconds) lies in a window; without a schedule, always.

    A window includes its start and excludes its end. One that spans midnight belongs to the day on
    which it starts.
    """
    if schedule is None:
        return True
    local = moment_of(at_us).astimezone(ZoneInfo(schedule.timezone))
    return any(_holds(window, local) for window in schedule.windows)


def _holds(window: Window, local: datetime) -> bool:
    time_us = ((local.hour * 60 + local.minute) * 60 + local.second) * 1_000_000 + local.microsecond
    start, end = _time_of_day_us(window.start), _time_of_day_us(window.end)
    today = WEEKDAYS[local.weekday()] in window.days
    if start < end:
        return today and start <= time_us < end
    yesterday = WEEKDAYS[local.weekday() - 1] in window.days
    return (today and time_us >= start) or (yesterday and time_us < end)


def _time_of_day_us(text: str) -> int:
    """Convert `HH:MM` to microseconds after midnight; `24:00` is the end of the day."""
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60 * 1_000_000
