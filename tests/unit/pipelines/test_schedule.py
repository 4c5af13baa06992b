"""Schedules against a table of every minute, computed independently."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import WEEKDAYS, Schedule, Window
from pipelines.schedule import is_armed
from tests.unit.pipelines.properties import SLOW_PROPERTY

# Days on which a clock was changed, and one on which none was.
DST_DAYS = [
    ("America/Sao_Paulo", date(2018, 11, 4)),  # 00:00 -> 01:00: the day has no midnight
    ("America/Sao_Paulo", date(2018, 2, 18)),  # 00:00 -> 23:00 of the day before
    ("America/Sao_Paulo", date(2024, 11, 3)),  # no longer changed
    ("Europe/Lisbon", date(2024, 3, 31)),  # 01:00 -> 02:00
    ("Europe/Lisbon", date(2024, 10, 27)),  # 02:00 -> 01:00
    ("Australia/Lord_Howe", date(2024, 4, 7)),  # changes by half an hour
    ("Asia/Kathmandu", date(2024, 5, 1)),  # +05:45
]

times = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 1, 29, 30, 59]))


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000


def armed_minutes(schedule: Schedule, around: date) -> set[tuple[date, int]]:
    """Every armed (local day, minute of the day), by walking each window from its start."""
    armed: set[tuple[date, int]] = set()
    for window in schedule.windows:
        start, end = (int(t[:2]) * 60 + int(t[3:]) for t in (window.start, window.end))
        length = end - start if end > start else end - start + 1440
        for offset in range(-3, 4):
            day = around + timedelta(days=offset)
            if WEEKDAYS[day.weekday()] not in window.days:
                continue
            for minute in range(start, start + length):
                armed.add((day + timedelta(days=minute // 1440), minute % 1440))
    return armed


def check_every_minute(schedule: Schedule, day: date) -> None:
    zone = ZoneInfo(schedule.timezone)
    expected = armed_minutes(schedule, day)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=18)
    for _ in range(60 * 60):  # 60 hours of real minutes around the day
        local = moment.astimezone(zone)
        wanted = (local.date(), local.hour * 60 + local.minute) in expected
        assert is_armed(schedule, microseconds(moment)) == wanted, (moment, local)
        moment += timedelta(minutes=1)


@pytest.mark.parametrize(("zone", "day"), DST_DAYS)
@pytest.mark.parametrize(
    ("start", "end"),
    [("22:00", "06:00"), ("00:00", "01:30"), ("01:00", "02:00"), ("00:00", "24:00")],
)
def test_every_minute_around_a_change_of_clocks(zone: str, day: date, start: str, end: str) -> None:
    today = WEEKDAYS[day.weekday()]
    window = Window(days=(today,), start=start, end=end)
    check_every_minute(Schedule(timezone=zone, windows=(window,)), day)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(times)
    end = draw(times.filter(lambda t: t != start) | st.just("24:00"))
    days = draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True))
    return Window(days=tuple(days), start=start, end=end)


@SLOW_PROPERTY
@given(st.lists(windows(), min_size=1, max_size=3), st.sampled_from(DST_DAYS))
def test_any_schedule_on_any_such_day(given_windows: list[Window], place: tuple[str, date]) -> None:
    zone, day = place
    check_every_minute(Schedule(timezone=zone, windows=tuple(given_windows)), day)


def test_a_window_includes_its_start_and_excludes_its_end() -> None:
    schedule = Schedule(windows=(Window(start="08:00", end="09:00"),))
    start = microseconds(datetime(2026, 3, 2, 8, tzinfo=UTC))
    hour = 3600 * 1_000_000
    assert [is_armed(schedule, start + us) for us in (-1, 0, hour - 1, hour)] == [
        False,
        True,
        True,
        False,
    ]


def test_the_skipped_hour_is_never_armed_and_the_repeated_one_twice() -> None:
    nights = Schedule(timezone="Europe/Lisbon", windows=(Window(start="01:00", end="02:00"),))

    def armed_hours(day: date) -> float:
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=1)
        moments = (begin + timedelta(minutes=m) for m in range(26 * 60))
        return (
            sum(
                is_armed(nights, microseconds(m))
                for m in moments
                if m.astimezone(ZoneInfo("Europe/Lisbon")).date() == day
            )
            / 60
        )

    assert armed_hours(date(2024, 3, 31)) == 0
    assert armed_hours(date(2024, 10, 27)) == 2
    assert armed_hours(date(2024, 6, 1)) == 1


def test_no_schedule_means_always() -> None:
    assert is_armed(None, 0)
