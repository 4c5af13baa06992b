"""States of a supervised process, and its restart budget. Pure: clock and RNG are passed in."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """Lost, and waiting for the next attempt."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    """Lost too often; there are no further attempts."""

    @property
    def settled(self) -> bool:
        """Whether the outcome of the start is known."""
        return self in (State.READY, State.STOPPED, State.FAILED)


class Trigger(StrEnum):
    START = "start"
    BECAME_READY = "became-ready"
    LOST = "lost"
    RETRY = "retry"
    GIVE_UP = "give-up"
    STOP = "stop"
    ENDED = "ended"


TRANSITIONS: Mapping[tuple[State, Trigger], State] = {
    (State.IDLE, Trigger.START): State.STARTING,
    (State.IDLE, Trigger.STOP): State.STOPPED,
    (State.STARTING, Trigger.BECAME_READY): State.READY,
    (State.STARTING, Trigger.LOST): State.WAITING,
    (State.STARTING, Trigger.STOP): State.STOPPING,
    (State.READY, Trigger.LOST): State.WAITING,
    (State.READY, Trigger.STOP): State.STOPPING,
    (State.WAITING, Trigger.RETRY): State.STARTING,
    (State.WAITING, Trigger.GIVE_UP): State.FAILED,
    (State.WAITING, Trigger.STOP): State.STOPPING,
    (State.STOPPING, Trigger.ENDED): State.STOPPED,
}
"""Every legal transition. `failed` and `stopped` are final: a new start needs a new object."""


class IllegalMoveError(RuntimeError):
    """A trigger that is illegal in the current state: a bug of ours, never of the server."""


def advance(state: State, trigger: Trigger) -> State:
    """The state after `trigger`.

    Raises:
        IllegalMoveError: the table has no such transition.
    """
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise IllegalMoveError(f"{trigger} is not possible while {state}") from None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often and how fast a lost process is restarted.

    Attributes:
        budget: restarts allowed within `window_s`; the next loss is final. Five per minute, as in
            Frigate's watchdog: exposes a crash loop within seconds, and survives a bad hour.
        initial_s: longest first delay; doubles per restart in the window, up to `cap_s`.
        max_failed_starts: consecutive starts that end before the server is ready, at which it is
            given up. The window does not catch these: three starts that each time out after 20 s
            already fill a minute.
        jitter: largest fraction by which a delay is shortened at random, so that servers do not
            restart in step.

    Raises:
        ValueError: a value is out of range.
    """

    budget: int = 5
    window_s: float = 60.0
    initial_s: float = 0.25
    cap_s: float = 10.0
    max_failed_starts: int = 3
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if (
            self.budget < 0
            or self.max_failed_starts < 1
            or self.window_s <= 0
            or self.initial_s <= 0
            or self.cap_s <= 0
        ):
            raise ValueError(f"budget and times must be positive: {self}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1: {self.jitter}")


class RestartBudget:
    """Counts the restarts of one process in a sliding window.

    Args:
        policy: what is allowed.
        rng: source of the jitter.
    """

    def __init__(self, policy: RestartPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._taken: deque[float] = deque()
        self._failed_starts = 0

    def take(self, now: float, *, was_ready: bool) -> float | None:
        """Take one restart at monotonic time `now`.

        Args:
            was_ready: whether the process that ended had become ready.

        Returns:
            Seconds to wait before the restart, or None if the budget is exhausted.
        """
        policy = self._policy
        self._failed_starts = 0 if was_ready else self._failed_starts + 1
        if self._failed_starts >= policy.max_failed_starts:
            return None
        while self._taken and now - self._taken[0] >= policy.window_s:
            self._taken.popleft()
        if len(self._taken) >= policy.budget:
            return None
        pause: float = min(policy.cap_s, policy.initial_s * 2 ** len(self._taken))
        self._taken.append(now)
        return pause * (1 - policy.jitter * self._rng.random())
