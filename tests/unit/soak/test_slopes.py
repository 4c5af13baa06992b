"""A slope says what grows, not what jumped once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.readings import OTHERS, part_of
from tests.soak.slopes import MAX_POINTS, Point, trend


@given(st.floats(-50.0, 50.0), st.floats(0.0, 1_000.0), st.integers(3, 500))
def test_a_straight_line_has_its_slope(per_s: float, begin: float, count: int) -> None:
    found = trend([Point(5.0 * n, begin + per_s * 5.0 * n) for n in range(count)])
    assert found is not None
    assert found.per_hour == pytest.approx(per_s * 3600, abs=1e-3)


def test_a_peak_and_a_step_in_the_middle_of_little_decide_nothing() -> None:
    points = [Point(float(n), 100.0) for n in range(100)]
    points[50] = Point(50.0, 5_000.0)
    found = trend(points)
    assert found is not None
    assert found.per_hour == 0.0
    assert (found.first, found.last) == (100.0, 100.0)


def test_what_fills_at_the_begin_does_not_count() -> None:
    filling = [Point(float(n), float(n)) for n in range(30)]
    full = [Point(float(n), 30.0) for n in range(30, 100)]
    found = trend([*filling, *full], settle_s=30.0)
    assert found is not None
    assert found.per_hour == 0.0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_readings_have_no_trend(count: int) -> None:
    assert trend([Point(float(n), 1.0) for n in range(count)]) is None


def test_many_readings_are_thinned_out_to_the_end() -> None:
    found = trend([Point(float(n), 2.0 * n) for n in range(MAX_POINTS * 4 + 1)])
    assert found is not None
    assert found.per_hour == pytest.approx(7_200.0)
    assert found.last == pytest.approx(2.0 * (MAX_POINTS * 4 + 1) * 0.95, rel=0.01)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("ray::BridgeActor.sync", "bridge"),
        ("ray::ServeReplica:atalaia:Detector.handle_request_with_rejection", "detector"),
        ("/opt/atalaia/bin/livekit-server --config x.yaml", "livekit-server"),
        ("python -m cluster.relay --config x", "relay"),
        ("python -m cluster.cli demo", OTHERS),
        ("", OTHERS),
    ],
)
def test_a_process_is_known_by_its_command_line(command: str, part: str) -> None:
    assert part_of(command) == part
