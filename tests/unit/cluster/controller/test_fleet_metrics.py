from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.controller.metrics import Growth
from pipelines.domain import CameraKey

GATE, YARD = CameraKey("acme", "gate"), CameraKey("globex", "yard")


def test_initial_counts_are_ignored() -> None:
    assert Growth().since_last({GATE: {"busy": 7}}) == {}


def test_counts_are_summed_by_name() -> None:
    growth = Growth()
    growth.since_last({GATE: {"busy": 1}, YARD: {}})
    assert growth.since_last({GATE: {"busy": 3, "old": 1}, YARD: {"busy": 5}}) == {
        "busy": 7,
        "old": 1,
    }


def test_a_camera_missing_for_a_round_is_still_known_afterwards() -> None:
    growth = Growth()
    growth.since_last({GATE: {"busy": 2}})
    assert growth.since_last({}) == {}
    assert growth.since_last({GATE: {"busy": 5}}) == {"busy": 3}


@given(st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1))
def test_every_restart_counts_from_zero(lives: list[list[int]]) -> None:
    """Counters restart at 0 with each process; nothing is lost or counted twice."""
    growth = Growth()
    growth.since_last({GATE: {"busy": 0}})
    total = 0
    for steps in lives:
        count = 0
        growth.since_last({GATE: {"busy": count}})
        for step in steps:
            count += step
            total += step
            total -= growth.since_last({GATE: {"busy": count}})["busy"]
    assert total == 0
