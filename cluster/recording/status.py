"""How recording fares, as the bridge tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class RecordingState(StrEnum):
    OFF = "off"
    """Nothing is to be recorded, by the camera's mode or because of its masks."""
    IDLE = "idle"
    """Nothing is to be recorded now, by the schedule, or no picture came yet."""
    RECORDING = "recording"
    FAILING = "failing"
    """Pictures are lost; `reason` says why."""


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """How the recording of one camera fares.

    Attributes:
        reason: why it fails, is off, or why files wait on the bridge's disk; for people.
        segments: files that were finished since the bridge has the camera.
        dropped: `pictures` and pieces of `sound` that were not written, `files` that were lost.
    """

    state: RecordingState = RecordingState.OFF
    reason: str = ""
    segments: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


NO_RECORDING = RecordingStatus()
