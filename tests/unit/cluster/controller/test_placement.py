from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cluster.controller.placement import place, workers_for
from pipelines.domain import CameraKey

KEYS = [CameraKey(t, f"c{i}") for t in ("acme", "globex") for i in range(20)]
SETS = st.sets(st.sampled_from(KEYS))
BRIDGES = st.sets(st.integers(0, 8))


@given(SETS, SETS, BRIDGES, BRIDGES, st.integers(1, 7))
def test_as_many_as_there_is_room_for_are_placed_and_none_moves_from_a_bridge_that_lives(
    before: set[CameraKey],
    after: set[CameraKey],
    usable: set[int],
    later: set[int],
    capacity: int,
) -> None:
    first = place(before, {}, usable, capacity)
    second = place(after, first, later, capacity)
    for placed, wanted, bridges in ((first, before, usable), (second, after, later)):
        assert placed.keys() <= wanted
        assert set(placed.values()) <= bridges
        assert max(Counter(placed.values()).values(), default=0) <= capacity
        assert len(placed) == min(len(wanted), len(bridges) * capacity)
    for key in first.keys() & after:
        if first[key] in later:
            assert second[key] == first[key]


@given(SETS, BRIDGES, st.integers(1, 7))
def test_placing_again_changes_nothing(
    cameras: set[CameraKey], usable: set[int], capacity: int
) -> None:
    once = place(cameras, {}, usable, capacity)
    assert place(cameras, once, usable, capacity) == once


@given(SETS, st.integers(1, 7), st.integers(0, 3))
def test_spare_bridges_stay_empty(cameras: set[CameraKey], capacity: int, spares: int) -> None:
    needed = workers_for(len(cameras), capacity)
    placed = place(cameras, {}, range(needed + spares), capacity)
    assert placed.keys() == cameras
    assert set(placed.values()) <= set(range(needed))


def test_a_spare_takes_all_cameras_of_a_bridge_that_died() -> None:
    cameras = KEYS[:3]
    assert place(cameras, dict.fromkeys(cameras, 0), {1}, 4) == dict.fromkeys(cameras, 1)
