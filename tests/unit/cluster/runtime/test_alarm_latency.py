"""Latency per stage, as operators see it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.runtime.alarm_latency import AlarmLatency
from pipelines.clock import ManualClock
from pipelines.domain import Alarm, AlarmSource, Stages, SystemKind
from tests.factories import T0_US, make_alarm

PASSED = Stages(
    capture_us=T0_US,
    received_us=T0_US + 40_000,
    queued_us=T0_US + 41_000,
    detected_us=T0_US + 71_000,
    ruled_us=T0_US + 73_000,
    published_us=T0_US + 75_500,
)
SPENT = {"receive": 40.0, "queue": 1.0, "detect": 30.0, "rule": 2.0, "publish": 2.5}


def observed(*alarms: Alarm, now_us: int = T0_US + 80_000) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    AlarmLatency(ManualClock(now_us), lambda stage, ms: found.append((stage, ms))).add(alarms)
    return found


def test_each_stage_and_all_of_them() -> None:
    found = dict(observed(make_alarm(1, stages=PASSED)))
    assert found == pytest.approx({**SPENT, "record": 4.5, "total": 80.0})


def test_a_stage_that_was_skipped_belongs_to_the_next() -> None:
    skipped = PASSED.model_copy(update={"queued_us": 0, "detected_us": 0})
    found = dict(observed(make_alarm(1, stages=skipped)))
    assert "queue" not in found
    assert "detect" not in found
    assert found["rule"] == pytest.approx(33.0)
    assert found["total"] == pytest.approx(80.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"source": AlarmSource.BATCH},
        {"kind": SystemKind.BLIND},
        {"stages": Stages(capture_us=T0_US)},
    ],
    ids=["of a job", "about a camera", "without times"],
)
def test_what_no_live_rule_raised_does_not_count(fields: dict[str, object]) -> None:
    assert observed(make_alarm(1, **{"stages": PASSED, **fields})) == []


@given(st.lists(st.integers(0, 10_000_000), min_size=6, max_size=6))
def test_the_stages_add_up_to_the_total(steps: list[int]) -> None:
    times = [T0_US]
    for step in steps[:5]:
        times.append(times[-1] + step)
    names = ("capture_us", "received_us", "queued_us", "detected_us", "ruled_us", "published_us")
    stages = Stages(**dict(zip(names, times, strict=True)))
    found = dict(observed(make_alarm(1, stages=stages), now_us=times[-1] + steps[5]))
    total = found.pop("total")
    assert sum(found.values()) == pytest.approx(total)
    assert total == pytest.approx(sum(steps) / 1_000)
