"""The clock is set by an hour, or a day has 23 or 25: no alarm is lost, and days are whole.

The sampling and the pipeline run as the watcher runs them, over capture times that jump.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analytics import SLOT_US, per_hour
from pipelines.domain import Alarm, Detections, FrameStamp, LineCrossRule, ZoneEntryRule
from pipelines.ledger import SLOT_US as COVER_SLOT_US
from pipelines.pipeline import CameraPipeline
from pipelines.sampling import FrameSampler
from pipelines.times import to_us
from tests.unit.pipelines.properties import SLOW_PROPERTY
from tests.unit.pipelines.world import START_US, Thing, frames, plan, walk

HOUR_US = 3_600_000_000
SET_S = 30.0
"""When the clock is set, seconds of real time."""
BEGINS_S = (5.0, 40.0, 65.0)
"""When somebody comes into sight."""
YARD = ZoneEntryRule(id="yard", polygon=((0.3, 0.4), (0.7, 0.4), (0.7, 1), (0.3, 1)), cooldown_s=20)
GATE = LineCrossRule(id="gate", line=((0.5, 1.0), (0.5, 0.0)), cooldown_s=20)
WALKS = [Thing(walk((0.05, 0.8), (0.95, 0.8), begin_s, begin_s + 20)) for begin_s in BEGINS_S]


def stream(set_us: int) -> Iterator[tuple[float, FrameStamp, Detections]]:
    """Real seconds, the stamp, and what is seen, of 90 s at 10 frames/s."""
    for number, (stamp, found) in enumerate(frames(WALKS, 90, 10)):
        real_s = number / 10
        shift_us = set_us if real_s >= SET_S else 0
        yield real_s, replace(stamp, capture_us=stamp.capture_us + shift_us), found


def watched(set_us: int) -> tuple[list[tuple[float, Alarm]], Counter[bool]]:
    """Alarms with their real time, and frames by whether they were analysed, after the step."""
    sampler, pipeline = FrameSampler(5), CameraPipeline(plan(YARD, GATE))
    raised, analysed = list[tuple[float, Alarm]](), Counter[bool]()
    for real_s, stamp, found in stream(set_us):
        due = sampler.offer(stamp.capture_us)
        analysed[due] += real_s >= SET_S
        if due:
            raised += [(real_s, alarm) for alarm in pipeline.step(stamp, found).alarms]
            sampler.done()
    return raised, analysed


@SLOW_PROPERTY
@given(st.sampled_from([-1, 1]), st.integers(0, 1_000_000))
def test_setting_the_clock_by_an_hour_loses_no_alarm(sign: int, off_us: int) -> None:
    """Each walk enters the yard once and crosses the gate once: six alarms, whatever the clock
    does. None has the id of another one."""
    raised, analysed = watched(sign * (HOUR_US + off_us))
    assert sorted(alarm.rule for _, alarm in raised) == ["gate"] * 3 + ["yard"] * 3
    assert len({alarm.id for _, alarm in raised}) == 6
    # The zone begins 5.6 s after a walk does, its middle is reached after ten.
    for begin_s in BEGINS_S:
        times = sorted(at_s for at_s, _ in raised if begin_s <= at_s < begin_s + 20)
        assert times == pytest.approx([begin_s + 5.6, begin_s + 10], abs=1.5)
    # Every second frame, also right after the step.
    assert abs(analysed[True] - analysed[False]) <= 2


def test_the_same_walk_an_hour_later_under_the_same_clock_is_another_alarm() -> None:
    """The clock was set back, and what had been 08:00 comes again, milliseconds beside it."""
    before, again = (CameraPipeline(plan(YARD, GATE)).step for _ in range(2))
    ids = set()
    for step, shift_us in ((before, 0), (again, 13_000)):
        for stamp, found in frames(WALKS[:1], 30, 5, start_us=START_US + shift_us):
            ids |= {alarm.id for alarm in step(stamp, found).alarms}
    assert len(ids) == 4


# ------------------------------------------------------------ days


NIGHTS = [
    ("Europe/Lisbon", date(2026, 3, 29), 23.0),
    ("Europe/Lisbon", date(2026, 10, 25), 25.0),
    ("America/New_York", date(2026, 3, 8), 23.0),
    ("America/New_York", date(2026, 11, 1), 25.0),
    # Half an hour.
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
    # Clocks are changed at midnight: this day begins at 01:00.
    ("America/Santiago", date(2026, 9, 6), 23.0),
    ("America/Sao_Paulo", date(2026, 7, 1), 24.0),
]


def bounds(zone: str, day: date) -> tuple[int, int]:
    """First moment of a local day and of the next, UTC microseconds."""
    first, following = (
        datetime(d.year, d.month, d.day, tzinfo=ZoneInfo(zone)) for d in (day, day + timedelta(1))
    )
    return to_us(first), to_us(following)


@pytest.mark.parametrize(("zone", "day", "hours"), NIGHTS)
def test_a_local_day_is_as_long_as_it_is(zone: str, day: date, hours: float) -> None:
    """One object in each quarter of the day: each counts once, in an hour of this very day."""
    from_us, to = bounds(zone, day)
    assert (to - from_us) / HOUR_US == hours
    counts = [(at_us, "gate", "person", 1) for at_us in range(from_us, to, SLOT_US)]
    found = per_hour(counts, ZoneInfo(zone))
    assert sum(count for *_, count in found) == hours * 4
    assert {start.date() for start, *_ in found} == {day}
    starts = [to_us(start) for start, *_ in found]
    assert starts == sorted(set(starts))
    # Full hours have four quarters; where half an hour comes twice or never, one has six or two.
    odd = [count for *_, count in found if count != 4]
    assert odd == {24.5: [6], 23.5: [2]}.get(hours, [])


@pytest.mark.parametrize(("zone", "day", "hours"), NIGHTS)
def test_the_days_of_coverage_consist_of_whole_quarters(zone: str, day: date, hours: float) -> None:
    from_us, to = bounds(zone, day)
    assert from_us % COVER_SLOT_US == to % COVER_SLOT_US == 0
    assert (to - from_us) // COVER_SLOT_US == hours * 4
