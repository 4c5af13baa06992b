"""A fair order among tenants, then among the cameras of each. Pure: no clock, no event loop.

Start-time fair queueing, one level above the other: P. Goyal, H. M. Vin, H. Cheng, "Start-Time Fair
Queueing: A Scheduling Algorithm for Integrated Services Packet Switching Networks", IEEE/ACM
Transactions on Networking 5(5), 1997. It needs no knowledge of how fast the model is, which for a
shared machine nobody has. Every frame has the size of the model's input, so each turn costs the
same.

What holds (their theorem 1, for turns of one size): of two keys that both wait during an interval,
each divided by its weight, the counts of turns differ by at most `1/weight + 1/other weight`, which
is 2 for equal weights. Whoever did not wait for a while gains nothing by it.

How urgent an item is counts within its tenant's share alone: a tenant whose cameras all see
something new takes nothing from others. And it counts in three turns of four at most, so that what
is not urgent waits, but not for ever.

When there is no room, the tenant with most in the queue gives way, not whoever comes last: P. E.
McKenney, "Stochastic Fairness Queuing", INFOCOM 1990 ("buffer stealing").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipelines.domain import WorkOwner

URGENT_TURNS = 3
"""Turns that may go to urgent items of a tenant before one goes to whoever has had fewest."""

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


def _equal(_: object) -> float:
    return 1.0


class StartTimes(Generic[Key]):
    """Whose turn is next among keys that wait.

    Remembered are those that wait, and those whose last turn virtual time has not passed yet: a
    camera with one frame in flight leaves at each of its turns, and would otherwise be first again.

    Args:
        weight: share of a key in relation to others, above 0.
    """

    def __init__(self, weight: Callable[[Key], float] = _equal) -> None:
        self._weight = weight
        self._now = 0.0  # virtual time: the start of the latest turn
        self._starts: dict[Key, float] = {}  # next turns of those that wait, the latest comer last
        self._ends: dict[Key, float] = {}  # of those that do not wait
        self._charged: set[Key] = set()  # since their latest turn

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._starts) + len(self._ends)

    def start(self, key: Key) -> float:
        """When its next turn starts, in virtual time. Raises KeyError where it does not wait."""
        return self._starts[key]

    def join(self, key: Key) -> None:
        """It waits from now on, if it did not."""
        if key not in self._starts:
            self._starts[key] = max(self._now, self._ends.pop(key, self._now))

    def leave(self, key: Key) -> None:
        """It waits no more. Raises KeyError where it did not."""
        start = self._starts.pop(key)
        self._ends[key] = start
        if not self._starts:
            self._now = max(self._ends.values())  # nobody has to be compared with
        self._forget()

    def take(self, among: Collection[Key] | None = None) -> Key:
        """Give the next one its turn; it goes on waiting. Raises ValueError where nobody waits.

        Args:
            among: of those that wait, who may have it; None: all.
        """
        # A scan takes 10 µs where 256 wait; the model takes milliseconds.
        key = min(self._starts if among is None else among, key=self._starts.__getitem__)
        start = self._starts.pop(key)
        # It has gone on already where others were passed over before.
        self._now = max(self._now, start)
        self._starts[key] = start + 1 / self._weight(key)
        self._charged.discard(key)
        self._forget()
        return key

    def charge(self, key: Key) -> None:
        """Count a turn that it had elsewhere at the cost of those that wait here.

        For each of its turns here it pays for one elsewhere at most: however many it had there, it
        keeps half of its share here.
        """
        if key in self._charged:
            return
        self._charged.add(key)
        where = self._starts if key in self._starts else self._ends
        where[key] = max(self._now, where.get(key, self._now)) + 1 / self._weight(key)

    def _forget(self) -> None:
        # In the order in which they left, which is that of their ends but for a turn or two.
        while self._ends and next(iter(self._ends.values())) <= self._now:
            key = next(iter(self._ends))
            del self._ends[key]
            self._charged.discard(key)


@dataclass(eq=False, slots=True)
class Ticket(Generic[Item]):
    """An item that waits. `arrived_s`: monotonic seconds; `urgency`: higher ones go first."""

    owner: WorkOwner
    item: Item
    arrived_s: float
    urgency: int = 0


class _Tenant(Generic[Item]):
    """What waits of one tenant, by camera. Work without a camera counts as one more camera."""

    def __init__(self) -> None:
        self._cameras: dict[str | None, deque[Ticket[Item]]] = {}
        self._order: StartTimes[str | None] = StartTimes()
        self._urgent_turns = 0
        self.waiting = 0

    def push(self, ticket: Ticket[Item]) -> None:
        camera = ticket.owner.camera
        self._cameras.setdefault(camera, deque()).append(ticket)
        self._order.join(camera)
        self.waiting += 1

    def next(self) -> Ticket[Item]:
        """The oldest of the camera whose turn it is; it stays until it is removed."""
        urgencies = {camera: queue[0].urgency for camera, queue in self._cameras.items()}
        most = max(urgencies.values())
        urgent = [camera for camera, urgency in urgencies.items() if urgency == most]
        if len(urgent) < len(urgencies) and self._urgent_turns < URGENT_TURNS:
            self._urgent_turns += 1
            return self._cameras[self._order.take(urgent)][0]
        self._urgent_turns = 0
        return self._cameras[self._order.take()][0]

    def last(self) -> Ticket[Item]:
        """The newest of the camera with most, or of those the one that would come last."""
        return max(
            self._cameras.items(), key=lambda item: (len(item[1]), self._order.start(item[0]))
        )[1][-1]

    def remove(self, ticket: Ticket[Item]) -> None:
        camera = ticket.owner.camera
        queue = self._cameras[camera]
        queue.remove(ticket)
        self.waiting -= 1
        if not queue:
            del self._cameras[camera]
            self._order.leave(camera)


class FairQueue(Generic[Item]):
    """A bounded queue: fair among tenants, then among their cameras, in order for each camera.

    Args:
        room: how many items may wait.
        weight: of a tenant, by its name.
    """

    def __init__(self, room: int, weight: Callable[[str], float] = _equal) -> None:
        self._room = room
        self._tenants: dict[str, _Tenant[Item]] = {}
        self._order: StartTimes[str] = StartTimes(weight)
        self._arrivals: dict[Ticket[Item], None] = {}

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._arrivals)

    def waiting_of(self, tenant: str) -> int:
        """How many of them are the tenant's."""
        queue = self._tenants.get(tenant)
        return queue.waiting if queue else 0

    def push(self, ticket: Ticket[Item]) -> Ticket[Item] | None:
        """Add a ticket, later than all before it.

        Returns the one for which there is no room: none, this one, or the last of the tenant that
        has most in a full queue and by that has taken the room of others.
        """
        given_up = self._given_up_for(ticket) if len(self) >= self._room else None
        if given_up is ticket:
            return ticket
        if given_up is not None:
            self.discard(given_up)
        tenant = ticket.owner.tenant
        self._tenants.setdefault(tenant, _Tenant()).push(ticket)
        self._order.join(tenant)
        self._arrivals[ticket] = None
        return given_up

    def pop(self) -> Ticket[Item]:
        """Whose turn it is. Raises ValueError where nobody waits."""
        ticket = self._tenants[self._order.take()].next()
        self.discard(ticket)
        return ticket

    def discard(self, ticket: Ticket[Item]) -> None:
        """Take it out, if it still waits. Nobody's turn is used up."""
        if ticket not in self._arrivals:
            return
        del self._arrivals[ticket]
        tenant = ticket.owner.tenant
        queue = self._tenants[tenant]
        queue.remove(ticket)
        if not queue.waiting:
            del self._tenants[tenant]
            self._order.leave(tenant)

    def expire(self, before_s: float) -> list[Ticket[Item]]:
        """Take out those that arrived before this time, the oldest first."""
        expired = []
        for ticket in self._arrivals:
            if ticket.arrived_s >= before_s:
                break
            expired.append(ticket)
        for ticket in expired:
            self.discard(ticket)
        return expired

    def charge(self, tenant: str) -> None:
        """Count a turn that the tenant had elsewhere at the cost of those that wait here."""
        self._order.charge(tenant)

    def _given_up_for(self, ticket: Ticket[Item]) -> Ticket[Item]:
        if not self._tenants:
            return ticket
        most = max(self._tenants.values(), key=lambda tenant: tenant.waiting)
        # With one more each would have the other's number: nothing would be gained.
        return most.last() if most.waiting > self.waiting_of(ticket.owner.tenant) + 1 else ticket
