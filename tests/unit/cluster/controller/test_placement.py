from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cluster.controller.placement import place, workers_for
from pipelines.domain import CameraKey

KEYS = [CameraKey(t, f"c{i}") for t in ("acme", "globex") for i in range(20)]
SETS = st.sets(st.sampled_from(KEYS))


@given(SETS, SETS, st.integers(1, 7))
def test_all_are_placed_within_capacity_and_few_move(
    before: set[CameraKey], after: set[CameraKey], capacity: int
) -> None:
    first = place(before, {}, capacity)
    second = place(after, first, capacity)
    assert second.keys() == after
    assert max(Counter(second.values()).values(), default=0) <= capacity
    wanted = workers_for(len(after), capacity)
    assert all(index < wanted for index in second.values())
    for key in before & after:
        if first[key] < wanted:
            assert second[key] == first[key]


@given(SETS, st.integers(1, 7))
def test_placing_again_changes_nothing(cameras: set[CameraKey], capacity: int) -> None:
    once = place(cameras, {}, capacity)
    assert place(cameras, once, capacity) == once
