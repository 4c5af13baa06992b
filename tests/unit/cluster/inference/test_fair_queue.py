"""Who is next, for any order in which frames come: bounds that were worked out beforehand."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.inference.fair_queue import URGENT_TURNS, FairQueue, StartTimes, Ticket
from pipelines.domain import WorkOwner

TENANTS, CAMERAS = ("a", "b", "c"), ("1", "2", None)
WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5}
AMPLE = 10_000

owners = st.builds(WorkOwner, st.sampled_from(TENANTS), st.sampled_from(CAMERAS))
steps = st.lists(st.one_of(owners, st.none()), max_size=200)
"""A frame of this owner comes; or, for None, the model takes one."""


@dataclass
class Played:
    """What a queue did with a list of steps.

    `turns`: for each time the model took a frame: whose, and who waited for it just before.
    """

    queue: FairQueue[int]
    pushed: list[Ticket[int]] = field(default_factory=list)
    popped: list[Ticket[int]] = field(default_factory=list)
    turns: list[tuple[WorkOwner, Counter[WorkOwner]]] = field(default_factory=list)
    waits: Counter[WorkOwner] = field(default_factory=Counter)

    def push(self, owner: WorkOwner) -> None:
        ticket = Ticket(owner, len(self.pushed), 0.0)
        assert self.queue.push(ticket) is None
        self.pushed.append(ticket)
        self.waits[owner] += 1

    def pop(self) -> Ticket[int]:
        before = +self.waits
        ticket = self.queue.pop()
        self.turns.append((ticket.owner, before))
        self.popped.append(ticket)
        self.waits[ticket.owner] -= 1
        return ticket


def play(todo: Iterable[WorkOwner | None], weight: Callable[[str], float] = lambda _: 1) -> Played:
    played = Played(FairQueue(AMPLE, weight))
    for owner in todo:
        if owner is not None:
            played.push(owner)
        elif len(played.queue):
            played.pop()
    return played


def furthest_apart(
    turns: Iterable[tuple[Hashable, set[Hashable]]],
    one: Hashable,
    other: Hashable,
    share: Callable[[Hashable], float] = lambda _: 1,
) -> float:
    """By how much their turns, each divided by its share, differ at most in any stretch of turns
    for which both waited."""
    ahead, low, high, most = 0.0, 0.0, 0.0, 0.0
    for taken, waiting in turns:
        if not {one, other} <= waiting:
            ahead = low = high = 0.0
            continue
        ahead += (taken == one) / share(one) - (taken == other) / share(other)
        low, high = min(low, ahead), max(high, ahead)
        most = max(most, high - low)
    return most


@given(steps)
def test_two_tenants_that_wait_differ_by_two_turns_at_most(todo: list[WorkOwner | None]) -> None:
    turns = [(o.tenant, {w.tenant for w in waits}) for o, waits in play(todo).turns]
    for one, other in combinations(TENANTS, 2):
        assert furthest_apart(turns, one, other) <= 2


@given(steps)
def test_weights_divide_the_turns(todo: list[WorkOwner | None]) -> None:
    played = play(todo, WEIGHTS.__getitem__)
    turns = [(o.tenant, {w.tenant for w in waits}) for o, waits in played.turns]
    for one, other in combinations(TENANTS, 2):
        apart = furthest_apart(turns, one, other, lambda key: WEIGHTS[str(key)])
        assert apart <= 1 / WEIGHTS[one] + 1 / WEIGHTS[other] + 1e-9


@given(steps)
def test_two_cameras_of_a_tenant_differ_by_two_of_its_turns(todo: list[WorkOwner | None]) -> None:
    played = play(todo)
    for tenant in TENANTS:
        own = [
            (o.camera, {w.camera for w in waits if w.tenant == tenant})
            for o, waits in played.turns
            if o.tenant == tenant
        ]
        for one, other in combinations(CAMERAS, 2):
            assert furthest_apart(own, one, other) <= 2


@given(steps)
def test_each_camera_is_served_in_order_and_nothing_is_lost(todo: list[WorkOwner | None]) -> None:
    played = play(todo)
    while len(played.queue):
        played.pop()
    came, went = defaultdict(list), defaultdict(list)
    for ticket in played.pushed:
        came[ticket.owner].append(ticket.item)
    for ticket in played.popped:
        went[ticket.owner].append(ticket.item)
    assert went == came


@given(steps)
def test_nobody_starves(todo: list[WorkOwner | None]) -> None:
    """Between two turns of a tenant that waits, any other has three at most, and so for cameras."""
    waited: Counter[WorkOwner] = Counter()
    for taken, waiting in play(todo).turns:
        for owner in waiting:
            waited[owner] += 1
        waited[taken] = 0
        most_turns = 3 * (len(TENANTS) - 1) + 1
        assert max(waited.values()) <= most_turns * (3 * (len(CAMERAS) - 1) + 1)


@given(steps, st.lists(st.integers(0, 250)))
def test_who_left_takes_nobody_else_along(todo: list[WorkOwner | None], leavers: list[int]) -> None:
    played = play(todo)
    gone = {ticket.item for ticket in played.pushed if ticket.item in leavers}
    for ticket in played.pushed:
        if ticket.item in gone:
            played.queue.discard(ticket)
            played.queue.discard(ticket)
    served = {ticket.item for ticket in played.popped}
    rest = {played.queue.pop().item for _ in range(len(played.queue))}
    assert rest == {ticket.item for ticket in played.pushed} - gone - served


@given(st.lists(owners, max_size=120), st.integers(0, 20))
def test_the_tenant_with_most_gives_way(coming: list[WorkOwner], room: int) -> None:
    """The room is shared in equal parts: who has no more than that is never refused."""
    queue: FairQueue[int] = FairQueue(room)
    for number, owner in enumerate(coming):
        waits = Counter({tenant: queue.waiting_of(tenant) for tenant in TENANTS})
        full = len(queue) == room
        given_up = queue.push(Ticket(owner, number, 0.0))
        assert (given_up is not None) == full
        if given_up is not None:
            waits[owner.tenant] += 1
            assert waits[given_up.owner.tenant] == max(waits.values())
            assert waits[given_up.owner.tenant] > room // len(TENANTS)
        assert len(queue) <= room
        assert sum(queue.waiting_of(tenant) for tenant in TENANTS) == len(queue)


@given(st.lists(st.tuples(owners, st.integers(0, 3)), max_size=60), st.integers(0, 80))
def test_what_is_too_old_goes_and_nothing_else(
    coming: list[tuple[WorkOwner, int]], before_s: int
) -> None:
    queue: FairQueue[int] = FairQueue(AMPLE)
    now_s, arrived = 0, {}
    for number, (owner, later_s) in enumerate(coming):
        now_s += later_s
        arrived[number] = now_s
        queue.push(Ticket(owner, number, now_s))
    old = [number for number, at_s in arrived.items() if at_s < before_s]
    assert [ticket.item for ticket in queue.expire(before_s)] == old
    left = {queue.pop().item for _ in range(len(queue))}
    assert left == set(arrived) - set(old)


@pytest.mark.parametrize("tenants", [2, 3, 10])
def test_a_lone_camera_keeps_its_rate_beside_tenants_with_fifty(tenants: int) -> None:
    """One frame in flight per camera. The lone one has a frame in every n-th turn, its fair share
    of n tenants; all others have their next frame ready whenever one is done."""
    queue: FairQueue[int] = FairQueue(AMPLE)
    for tenant in range(tenants - 1):
        for camera in range(50):
            queue.push(Ticket(WorkOwner(f"busy-{tenant}", str(camera)), 0, 0.0))
    lone = WorkOwner("lone", "gate")
    offered, delays, came = 0, [], deque[int]()
    for turn in range(tenants * 500):
        if turn % tenants == 0 and not came:
            queue.push(Ticket(lone, turn, 0.0))
            came.append(turn)
            offered += 1
        ticket = queue.pop()
        if ticket.owner == lone:
            delays.append(turn - came.popleft())
        else:
            queue.push(ticket)
    assert offered == 500
    assert len(delays) >= offered - 1
    # It may find each of the others about to be served, from the first turn on.
    assert max(delays) <= tenants - 1


def test_who_was_away_has_no_credit() -> None:
    queue: FairQueue[int] = FairQueue(AMPLE)
    for number in range(200):
        queue.push(Ticket(WorkOwner("there", "1"), number, 0.0))
    for _ in range(100):
        queue.pop()
    for number in range(100):
        queue.push(Ticket(WorkOwner("back", "1"), number, 0.0))
    first = Counter(queue.pop().owner.tenant for _ in range(40))
    assert abs(first["there"] - first["back"]) <= 2


def test_a_frame_in_flight_is_no_way_to_the_front() -> None:
    """A camera that leaves the queue at each of its turns waits for others when it is back."""
    queue: FairQueue[int] = FairQueue(AMPLE)
    for number in range(100):
        queue.push(Ticket(WorkOwner("long", "1"), number, 0.0))
    served: Counter[str] = Counter()
    back = Ticket(WorkOwner("short", "1"), 0, 0.0)
    queue.push(back)
    for _ in range(50):
        ticket = queue.pop()
        served[ticket.owner.tenant] += 1
        if ticket is back:
            queue.push(back)
    assert abs(served["long"] - served["short"]) <= 2


def test_who_is_gone_is_forgotten() -> None:
    order: StartTimes[int] = StartTimes()
    order.join(-1)
    for passer_by in range(1_000):
        order.join(passer_by)
    while len(order) > 1:
        key = order.take()
        if key >= 0:
            order.leave(key)
    order.take()
    assert len(order) == 1
    order.leave(-1)
    assert len(order) == 0


@given(st.lists(st.integers(0, 3), max_size=100))
def test_charges_come_out_of_ones_own_share_and_leave_half_of_it(charged_after: list[int]) -> None:
    """However often one tenant is charged, two others get the same, and it gets half of theirs."""
    order: StartTimes[str] = StartTimes()
    for tenant in TENANTS:
        order.join(tenant)
    turns: list[tuple[Hashable, set[Hashable]]] = []
    for charges in charged_after:
        turns.append((order.take(), set(TENANTS)))
        for _ in range(charges):
            order.charge("a")
    assert furthest_apart(turns, "b", "c") <= 2
    taken = Counter(key for key, _ in turns)
    assert taken["a"] >= taken["b"] // 2 - 1
    assert taken["a"] <= taken["b"] + 2


def test_one_charge_costs_one_turn() -> None:
    order: StartTimes[str] = StartTimes()
    for tenant in ("a", "b"):
        order.join(tenant)
    taken: Counter[str] = Counter()
    for turn in range(1_000):
        taken[order.take()] += 1
        if turn % 20 == 0:
            order.charge("a")
            taken["a"] += 1
    assert abs(taken["a"] - taken["b"]) <= 2


# ------------------------------------------------------------------ urgency

urgent_steps = st.lists(
    st.one_of(st.tuples(owners, st.integers(0, 4)), st.none()), min_size=20, max_size=200
)


@given(urgent_steps)
def test_urgency_gives_no_tenant_more_turns(todo: list[tuple[WorkOwner, int] | None]) -> None:
    """Tenants have their turns in the same order, however urgent their frames are."""
    urgent: FairQueue[int] = FairQueue(AMPLE)
    even: FairQueue[int] = FairQueue(AMPLE)
    for number, step in enumerate(todo):
        if step is not None:
            owner, urgency = step
            urgent.push(Ticket(owner, number, 0.0, urgency))
            even.push(Ticket(owner, number, 0.0))
        elif len(urgent):
            assert urgent.pop().owner.tenant == even.pop().owner.tenant
    assert len(urgent) == len(even)


def test_the_most_urgent_frames_of_a_tenant_go_first() -> None:
    queue: FairQueue[str] = FairQueue(AMPLE)
    for urgency, camera in ((1, "still"), (4, "new"), (2, "tracked"), (3, "near")):
        queue.push(Ticket(WorkOwner("a", camera), camera, 0.0, urgency))
    assert [queue.pop().item for _ in range(4)] == ["new", "near", "tracked", "still"]


@given(still=st.integers(1, 12), busy=st.integers(1, 4))
def test_what_is_not_urgent_waits_for_a_bounded_number_of_turns(still: int, busy: int) -> None:
    """Every fourth turn goes to whoever has had fewest, so each heartbeat has its turn within four
    times as many turns as heartbeats wait."""
    queue: FairQueue[int] = FairQueue(AMPLE)
    for camera in range(still):
        queue.push(Ticket(WorkOwner("a", f"still-{camera}"), camera, 0.0, 1))
    for camera in range(busy):
        queue.push(Ticket(WorkOwner("a", f"busy-{camera}"), camera, 0.0, 4))
    left = set(range(still))
    for _ in range((URGENT_TURNS + 1) * still + busy):
        ticket = queue.pop()
        if ticket.urgency == 1:
            left.discard(ticket.item)
        else:
            queue.push(Ticket(ticket.owner, ticket.item, 0.0, 4))  # always has a next one
    assert not left


def test_urgent_cameras_of_a_tenant_take_turns() -> None:
    queue: FairQueue[int] = FairQueue(AMPLE)
    for camera in ("1", "2"):
        queue.push(Ticket(WorkOwner("a", camera), 0, 0.0, 4))
    queue.push(Ticket(WorkOwner("a", "3"), 0, 0.0, 1))
    turns: Counter[str | None] = Counter()
    for _ in range(80):
        ticket = queue.pop()
        turns[ticket.owner.camera] += 1
        queue.push(Ticket(ticket.owner, 0, 0.0, ticket.urgency))
    assert abs(turns["1"] - turns["2"]) <= 2
    assert turns["3"] >= 80 // (URGENT_TURNS + 1) - 1
