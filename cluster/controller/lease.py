"""Which of several controllers commands: the state of a lease as its holder sees it, without I/O.

A holder counts its lease from before it asked, and for three quarters of what was granted. So it
stops before anybody else can be granted one, if its clock is less than a quarter slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipelines.errors import UnavailableError

# Of what was granted. The rest is for clocks that differ, and for a command on its way.
USABLE = 0.75
# Of the lease: how often it is renewed, and asked for. Two renewals may fail before it lapses.
ASK_EVERY = 0.25


class NotInCommandError(UnavailableError):
    """This controller does not hold the lease, or a worker has heard of a later holder."""


class LeaseState(StrEnum):
    """STANDING_BY: another one commands, or nobody has answered yet. LAPSED: it was held, and could
    not be renewed in time; perhaps nobody holds it."""

    STANDING_BY = "standing by"
    HOLDING = "holding"
    LAPSED = "lapsed"


class LeaseEvent(StrEnum):
    GRANTED = "granted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    EXPIRED = "expired"


_S, _E = LeaseState, LeaseEvent
_TRANSITIONS: dict[tuple[LeaseState, LeaseEvent], LeaseState] = {
    (_S.STANDING_BY, _E.GRANTED): _S.HOLDING,
    (_S.STANDING_BY, _E.REFUSED): _S.STANDING_BY,
    (_S.STANDING_BY, _E.UNANSWERED): _S.STANDING_BY,
    (_S.HOLDING, _E.GRANTED): _S.HOLDING,
    (_S.HOLDING, _E.REFUSED): _S.STANDING_BY,
    (_S.HOLDING, _E.UNANSWERED): _S.HOLDING,
    (_S.HOLDING, _E.EXPIRED): _S.LAPSED,
    (_S.LAPSED, _E.GRANTED): _S.HOLDING,
    (_S.LAPSED, _E.REFUSED): _S.STANDING_BY,
    (_S.LAPSED, _E.UNANSWERED): _S.LAPSED,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """The lease is ours.

    Attributes:
        token: of fencing; greater than that of every grant before to anybody else.
    """

    token: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody else has it.

    Attributes:
        owner: the cluster of that controller.
    """

    owner: str


Answer = Grant | Refusal | None
"""What was heard; None: nothing."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a controller knows of the lease.

    Attributes:
        token: of its last grant; 0: it never had one.
        until_s: to when it may command, on its own clock.
        owner: whose the lease is, where it was refused; empty: not known.
    """

    state: LeaseState = LeaseState.STANDING_BY
    token: int = 0
    until_s: float = 0.0
    owner: str = ""


def advance(state: LeaseState, event: LeaseEvent) -> LeaseState:
    """Raises ValueError for an event that cannot happen in this state."""
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event} cannot happen while {state}") from None


def heard(lease: Lease, answer: Answer, asked_s: float, lease_s: float) -> Lease:
    """The lease after an answer.

    Args:
        asked_s: when it was asked for, on the clock of `until_s`.
        lease_s: how long was asked for.
    """
    match answer:
        case Grant(token):
            state = advance(lease.state, LeaseEvent.GRANTED)
            return Lease(state, token, asked_s + lease_s * USABLE)
        case Refusal(owner):
            state = advance(lease.state, LeaseEvent.REFUSED)
            return Lease(state, lease.token, owner=owner)
    return Lease(
        advance(lease.state, LeaseEvent.UNANSWERED), lease.token, lease.until_s, lease.owner
    )


def at(lease: Lease, now_s: float) -> Lease:
    """The lease now: one that was not renewed in time has lapsed."""
    if lease.state is not LeaseState.HOLDING or now_s < lease.until_s:
        return lease
    return Lease(advance(lease.state, LeaseEvent.EXPIRED), lease.token)


class Fence:
    """The side of those who are commanded: who has heard of a later holder obeys no earlier one."""

    def __init__(self) -> None:
        self._highest = 0

    def admit(self, token: int) -> None:
        """Raises NotInCommandError: the command is that of an earlier holder."""
        if token < self._highest:
            raise NotInCommandError(
                f"this command has the token {token}; there was one with {self._highest}."
            )
        self._highest = token
