"""Whose call is next: live frames, programs that wait, jobs. Played turn by turn."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.inference.fair_queue import Ticket
from cluster.inference.lanes import CALLS_PER_TURN, Lane, Lanes
from pipelines.domain import WorkOwner

ROOM = dict.fromkeys(Lane, 1_000)


def busy_detector(
    cameras: dict[str, int], floods: dict[Lane, list[str]], calls: int
) -> tuple[Counter[str], Counter[Lane], Counter[str]]:
    """Calls of one frame each, one after the other. Cameras have their next frame ready whenever
    one was analysed, and the floods never end.

    Returns how many calls each tenant's cameras had, each lane, and each tenant's floods.
    """
    lanes: Lanes[int] = Lanes(ROOM, parallel=1)

    def come(lane: Lane, owner: WorkOwner) -> None:
        assert lanes[lane].push(Ticket(owner, 0, 0.0)) is None

    for tenant, count in cameras.items():
        for camera in range(count):
            come(Lane.LIVE, WorkOwner(tenant, str(camera)))
    for lane, tenants in floods.items():
        for tenant in tenants * 30:
            come(lane, WorkOwner(tenant))
    live: Counter[str] = Counter()
    by_lane: Counter[Lane] = Counter()
    flooding: Counter[str] = Counter()
    for _ in range(calls):
        lane = lanes.next_lane()
        assert lane is not None
        (ticket,) = lanes.begin(lane, 1)
        lanes.end(lane)
        by_lane[lane] += 1
        (live if lane is Lane.LIVE else flooding)[ticket.owner.tenant] += 1
        come(lane, ticket.owner)
    return live, by_lane, flooding


def test_lower_lanes_have_one_call_in_twenty_one_of_those_above() -> None:
    _, by_lane, _ = busy_detector(
        {"a": 3}, {Lane.INTERACTIVE: ["a"], Lane.BEHIND: ["a"]}, calls=22 * 100
    )
    assert by_lane[Lane.INTERACTIVE] == pytest.approx(100, abs=1)
    # Calls of programs are calls above it, too.
    assert by_lane[Lane.BEHIND] == pytest.approx(22 * 100 / 22, abs=5)
    assert by_lane[Lane.LIVE] >= 0.9 * 22 * 100


@pytest.mark.parametrize("lane", [Lane.INTERACTIVE, Lane.BEHIND])
def test_a_flood_is_paid_by_its_own_tenant(lane: Lane) -> None:
    """Both tenants have more frames than the detector can take. One floods: the other's live rate
    stays half of all calls, as without the flood."""
    calls = (CALLS_PER_TURN + 1) * 100
    live, by_lane, _ = busy_detector({"a": 50, "b": 50}, {lane: ["a"]}, calls)
    assert by_lane[lane] == pytest.approx(100, abs=1)
    assert live["b"] == pytest.approx(calls / 2, abs=2)
    assert live["a"] == pytest.approx(calls / 2 - 100, abs=3)


def test_a_flood_leaves_its_own_cameras_half_of_their_share() -> None:
    """Of 40 tenants, each has 2.4 % of the live calls; the flood alone would take 4.8 %."""
    calls = (CALLS_PER_TURN + 1) * 400
    cameras = {"a": 5} | {f"b-{number}": 5 for number in range(39)}
    live, by_lane, _ = busy_detector(cameras, {Lane.INTERACTIVE: ["a"]}, calls)
    share = by_lane[Lane.LIVE] / 40
    assert live["a"] >= share / 2 - 1
    others = [count for tenant, count in live.items() if tenant != "a"]
    assert max(others) - min(others) <= 2
    assert min(others) >= share - 1


@pytest.mark.parametrize("lane", [Lane.INTERACTIVE, Lane.BEHIND])
def test_lower_lanes_are_fair_among_tenants_too(lane: Lane) -> None:
    _, _, flooding = busy_detector({"a": 3}, {lane: ["a", "a", "a", "b"]}, 21 * 40)
    assert sum(flooding.values()) == pytest.approx(40, abs=1)
    assert abs(flooding["a"] - flooding["b"]) <= 2


def test_what_was_idle_anyway_is_free() -> None:
    """A program that used the detector while no camera needed it owes nothing afterwards."""
    lanes: Lanes[int] = Lanes(ROOM, parallel=1)
    for _ in range(100):
        lanes[Lane.INTERACTIVE].push(Ticket(WorkOwner("a"), 0, 0.0))
    for _ in range(100):
        lanes.begin(Lane.INTERACTIVE, 1)
        lanes.end(Lane.INTERACTIVE)
    for tenant in "ab":
        for _ in range(20):
            lanes[Lane.LIVE].push(Ticket(WorkOwner(tenant, "1"), 0, 0.0))
    first = Counter(lanes.begin(Lane.LIVE, 1)[0].owner.tenant for _ in range(20))
    assert first == {"a": 10, "b": 10}


def test_lower_lanes_together_leave_one_worker_to_live_frames() -> None:
    lanes: Lanes[int] = Lanes(ROOM, parallel=3)
    for lane in (Lane.INTERACTIVE, Lane.BEHIND):
        for _ in range(5):
            lanes[lane].push(Ticket(WorkOwner("a"), 0, 0.0))
    began = []
    while (lane_now := lanes.next_lane()) is not None:
        began.append(lane_now)
        lanes.begin(lane_now, 1)
    assert began == [Lane.INTERACTIVE, Lane.INTERACTIVE]
    lanes[Lane.LIVE].push(Ticket(WorkOwner("b", "1"), 0, 0.0))
    assert lanes.next_lane() is Lane.LIVE
    lanes.begin(Lane.LIVE, 1)
    assert lanes.next_lane() is None
    lanes.end(Lane.INTERACTIVE)
    assert lanes.next_lane() is Lane.INTERACTIVE


def test_a_call_mixes_tenants_and_cameras_of_one_lane() -> None:
    lanes: Lanes[int] = Lanes(ROOM, parallel=1)
    for camera in range(20):
        lanes[Lane.LIVE].push(Ticket(WorkOwner("many", str(camera)), 0, 0.0))
    for tenant in ("one", "two"):
        lanes[Lane.LIVE].push(Ticket(WorkOwner(tenant, "1"), 0, 0.0))
    lanes[Lane.BEHIND].push(Ticket(WorkOwner("many"), 0, 0.0))
    batch = Counter(ticket.owner.tenant for ticket in lanes.begin(Lane.LIVE, 8))
    assert batch == {"many": 6, "one": 1, "two": 1}


def test_a_lane_without_room_takes_nothing() -> None:
    lanes: Lanes[int] = Lanes({Lane.LIVE: 1}, parallel=1)
    ticket = Ticket(WorkOwner("a"), 0, 0.0)
    assert lanes[Lane.BEHIND].push(ticket) is ticket
    assert len(lanes) == 0


@settings(deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sets(st.sampled_from(Lane)), st.integers(0, 2)), max_size=200),
)
@example(1, [(set(Lane), 1)] * 150)
@example(2, [(set(Lane), 1)] * 150)
@example(1, [({Lane.LIVE, Lane.INTERACTIVE}, 1)] * 150)
def test_no_lane_waits_for_long_whatever_comes(
    parallel: int, steps: list[tuple[set[Lane], int]]
) -> None:
    """At each step some lanes get a frame, some calls end, and every free worker takes what it may.
    Counted is, for each lane that waits, how many calls of others began meanwhile."""
    lanes: Lanes[int] = Lanes(ROOM, parallel)
    running: list[Lane] = []
    waited = dict.fromkeys(Lane, 0)
    for come, ending in steps:
        for lane in come:
            lanes[lane].push(Ticket(WorkOwner("a", lane.name), 0, 0.0))
        for _ in range(min(ending, len(running))):
            lanes.end(running.pop(0))
        while len(running) < parallel and (now := lanes.next_lane()) is not None:
            running.append(now)
            lanes.begin(now, 1)
            waited = {
                lane: waited[lane] + 1 if lane is not now and lanes[lane] else 0 for lane in Lane
            }
            assert waited[Lane.LIVE] <= 2, "at most one call of each lane below"
            assert max(waited.values()) <= CALLS_PER_TURN + 1, "the other lower lane is due first"
        assert running or not len(lanes), "a worker is free, but what waits may not go"
