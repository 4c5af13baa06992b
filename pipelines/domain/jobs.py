"""The states of a job."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def may_become(self) -> frozenset[JobState]:
        """A running job reports `running` again and again; a job that ended stays as it is."""
        return _MOVES[self]

    @property
    def ended(self) -> bool:
        return not self.may_become


_ENDS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
_MOVES = {
    JobState.QUEUED: _ENDS | {JobState.RUNNING},
    JobState.RUNNING: _ENDS | {JobState.RUNNING},
    **dict.fromkeys(_ENDS, frozenset[JobState]()),
}
