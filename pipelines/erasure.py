"""Erasure on request: its states, its steps, and the hashes that stay of what is gone. Pure."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NamedTuple

MAX_OBJECTS = 500
"""Objects in one erasure: what somebody has looked at, one by one."""

# Makes the digest another one than any other hash of the same names.
_PURPOSE = "atalaia-erased-1"


class ErasureKind(StrEnum):
    OBJECTS = "objects"
    """Chosen objects, and all that shows them."""
    TENANT = "tenant"


class ErasureState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """A step says for what. It goes on by itself."""
    DONE = "done"

    @property
    def may_become(self) -> frozenset[ErasureState]:
        """What is done stays done."""
        return _STATES[self]


_OPEN = frozenset({ErasureState.RUNNING, ErasureState.WAITING})
_STATES = {
    ErasureState.QUEUED: _OPEN,
    ErasureState.RUNNING: _OPEN | {ErasureState.DONE},
    ErasureState.WAITING: _OPEN | {ErasureState.DONE},
    ErasureState.DONE: frozenset[ErasureState](),
}


class ErasureStep(StrEnum):
    """In the order of work. Those before `settle` wait for nobody else."""

    CLOSE = "close"
    """Of a tenant: nobody can sign in any more, and its cameras stop."""
    RECORDS = "records"
    STREAMS = "streams"
    VECTORS = "vectors"
    FILES = "files"
    SETTLE = "settle"
    """What was on its way when the erasure began has arrived."""
    VERIFY = "verify"
    """All stores are searched again, and nothing is found."""
    SIGN = "sign"


S = ErasureStep
STEPS: dict[ErasureKind, tuple[ErasureStep, ...]] = {
    ErasureKind.OBJECTS: (
        S.RECORDS, S.STREAMS, S.VECTORS, S.FILES, S.SETTLE, S.VERIFY, S.SIGN,
    ),
    ErasureKind.TENANT: (
        S.CLOSE, S.RECORDS, S.STREAMS, S.VECTORS, S.FILES, S.SETTLE, S.VERIFY, S.SIGN,
    ),
}  # fmt: skip
GATES = frozenset({S.SETTLE, S.VERIFY, S.SIGN})
"""Steps that begin only when all before them are done."""
SEARCHES = {kind: steps[: steps.index(S.SETTLE)] for kind, steps in STEPS.items()}
"""What `verify` does again: one for each store, and of a tenant who may sign in."""


class StepState(StrEnum):
    PENDING = "pending"
    WAITING = "waiting"
    DONE = "done"

    @property
    def may_become(self) -> frozenset[StepState]:
        """A step that is done is pending again where `verify` found something."""
        return _STEP_STATES[self]


_STEP_STATES = {
    StepState.PENDING: frozenset({StepState.PENDING, StepState.WAITING, StepState.DONE}),
    StepState.WAITING: frozenset({StepState.PENDING, StepState.WAITING, StepState.DONE}),
    StepState.DONE: frozenset({StepState.DONE, StepState.PENDING}),
}


class WaitReason(StrEnum):
    """Why a step is not done."""

    STORE_AWAY = "store-away"
    SETTLING = "settling"
    IN_SIGHT = "in-sight"
    """An object is still seen; what comes of it is refused, and removed where it was stored."""
    JOB_RUNNING = "job-running"
    """A job began before the erasure, and may still write."""
    CAME_BACK = "came-back"
    """`verify` found something, and removed it; the stores are searched once more."""
    HELD = "held"
    """A legal hold of the tenant is open."""
    NO_SIGNING_KEY = "no-signing-key"
    FAILED = "failed"
    """Something unexpected; the log says what."""


class ItemState(StrEnum):
    """Of one thing that an erasure is about."""

    FOUND = "found"
    HELD = "held"
    GONE = "gone"


class Target(NamedTuple):
    """One object that is to be erased."""

    camera: str
    track: str

    @property
    def key(self) -> str:
        # Slugs hold no slash, so the first one parts them.
        return f"{self.camera}/{self.track}"

    @classmethod
    def of_key(cls, key: str) -> Target:
        camera, _, track = key.partition("/")
        return cls(camera, track)


def object_digest(tenant: str, target: Target) -> str:
    """What stays of an object: SHA-256 of its names, 64 hex digits. It says nothing to those who
    do not know them already."""
    spelt = "/".join((_PURPOSE, tenant, target.camera, target.track))
    return hashlib.sha256(spelt.encode()).hexdigest()


def next_step(
    kind: ErasureKind, states: dict[ErasureStep, StepState], tried: frozenset[ErasureStep]
) -> ErasureStep | None:
    """What to do next; None: nothing more in this round.

    Args:
        states: of all steps of the kind.
        tried: steps of this round that have to wait.
    """
    for place, step in enumerate(STEPS[kind]):
        if states[step] is StepState.DONE or step in tried:
            continue
        before = STEPS[kind][:place]
        needed = before if step in GATES else [one for one in before if one is S.CLOSE]
        if all(states[other] is StepState.DONE for other in needed):
            return step
    return None
