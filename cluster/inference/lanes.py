"""Which work goes first: live frames, then interactive programs, then jobs. Pure.

A lower lane is served where nothing waits above it, and lower lanes together never hold all
workers, so that a live frame finds one free or soon free. Cameras that keep a detector busy all the
time would keep the others waiting for ever (each has a next frame ready whenever one comes back),
hence their turn: a lane gets one call after `CALLS_PER_TURN` calls of those above it. That costs
live work at most 5 % for each lane below, and each frame at most one call of waiting for each. With
one worker it is the same: the lanes take turns at it, and none can starve another.

What a tenant gets by such a turn is charged to it: its own live frames wait for it, not those of
others, as far as it has any.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Generic, TypeVar

from cluster.inference.fair_queue import FairQueue, Ticket

CALLS_PER_TURN = 20

Item = TypeVar("Item")


class Lane(Enum):
    """Whose work goes first, in this order."""

    LIVE = auto()
    """Frames of cameras, as they come."""
    INTERACTIVE = auto()
    """Images of programs that wait for the answer."""
    BEHIND = auto()
    """Frames of jobs."""


class Lanes(Generic[Item]):
    """The queues of all lanes, and whose turn it is.

    Args:
        room: how many items may wait in each lane; a lane that is not named takes none.
        parallel: calls that may run at once.
    """

    def __init__(self, room: Mapping[Lane, int], parallel: int) -> None:
        self._queues: dict[Lane, FairQueue[Item]] = {
            lane: FairQueue(room.get(lane, 0)) for lane in Lane
        }
        self._most_below = max(1, parallel - 1)
        self._below_running = 0
        # Calls of lanes above each since its own last one.
        self._passed = dict.fromkeys(Lane, 0)

    def __getitem__(self, lane: Lane) -> FairQueue[Item]:
        return self._queues[lane]

    def __len__(self) -> int:
        """Items that wait."""
        return sum(len(queue) for queue in self._queues.values())

    def next_lane(self) -> Lane | None:
        """Whose turn it is; None where nothing may be taken."""
        may_go = [
            lane
            for lane, queue in self._queues.items()
            if queue and (lane is Lane.LIVE or self._below_running < self._most_below)
        ]
        due = [lane for lane in may_go if self._passed[lane] >= CALLS_PER_TURN]
        return next(iter(due or may_go), None)

    def begin(self, lane: Lane, most: int) -> list[Ticket[Item]]:
        """Take up to `most` items of a lane for one call; `end` must follow."""
        queue, live = self._queues[lane], self._queues[Lane.LIVE]
        batch = [queue.pop() for _ in range(min(most, len(queue)))]
        self._passed[lane] = 0
        for other in Lane:
            if other.value > lane.value:
                self._passed[other] += 1
        if lane is not Lane.LIVE:
            self._below_running += 1
            if live:
                for ticket in batch:
                    live.charge(ticket.owner.tenant)
        return batch

    def end(self, lane: Lane) -> None:
        """A call is over."""
        if lane is not Lane.LIVE:
            self._below_running -= 1
