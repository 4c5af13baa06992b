"""The state machine of a worker, as the controller sees it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class WorkerKind(StrEnum):
    BRIDGE = "bridge"
    HOST = "host"


class Health(StrEnum):
    """What the controller knows of a worker."""

    UNKNOWN = "unknown"
    """An earlier controller started it; what it carries is not known yet."""
    STARTING = "starting"
    """This controller started it, and it has not answered yet."""
    UP = "up"
    """It answers; only such workers are given cameras."""
    HUNG = "hung"
    """It stopped answering although its process runs; it is killed."""
    DOWN = "down"
    """Its process has ended; Ray starts another, which carries nothing."""


class WorkerEvent(StrEnum):
    """How a call to a worker ended."""

    ANSWERED = "answered"
    GONE = "gone"
    """Its process has ended or cannot be reached."""
    SILENT = "silent"
    """No answer in time."""
    FAILED = "failed"
    """It raised an error; it lives."""


_U, _S, _A, _H, _D = Health.UNKNOWN, Health.STARTING, Health.UP, Health.HUNG, Health.DOWN
_E = WorkerEvent

TRANSITIONS: Mapping[tuple[Health, WorkerEvent], Health] = MappingProxyType(
    {
        (_U, _E.ANSWERED): _A,
        (_U, _E.GONE): _D,
        (_U, _E.SILENT): _H,
        (_U, _E.FAILED): _U,
        (_S, _E.ANSWERED): _A,
        (_S, _E.GONE): _D,
        # A first start may take long: imports, on a machine that is busy with other starts.
        (_S, _E.SILENT): _S,
        (_S, _E.FAILED): _S,
        (_A, _E.ANSWERED): _A,
        (_A, _E.GONE): _D,
        (_A, _E.SILENT): _H,
        (_A, _E.FAILED): _A,
        (_H, _E.ANSWERED): _A,
        (_H, _E.GONE): _D,
        (_H, _E.SILENT): _H,
        (_H, _E.FAILED): _H,
        (_D, _E.ANSWERED): _A,
        (_D, _E.GONE): _D,
        # The one that Ray started in its place is still importing.
        (_D, _E.SILENT): _D,
        (_D, _E.FAILED): _D,
    }
)


def advance(health: Health, event: WorkerEvent) -> Health:
    """The state after `event`.

    Raises:
        ValueError: the table has no such transition.
    """
    try:
        return TRANSITIONS[health, event]
    except KeyError:
        raise ValueError(f"no transition from {health} on {event}") from None
