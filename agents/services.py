"""What a watcher needs of its host: one protocol for each part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.stores.bus import TrackUpdate
from pipelines.attention import Urgency
from pipelines.domain import (
    Alarm,
    CameraKey,
    CameraPlan,
    Crop,
    Detections,
    LetterboxedFrame,
    WorkOwner,
)
from pipelines.imaging import I420


class Plans(Protocol):
    def plan(self, key: CameraKey) -> CameraPlan | None:
        """The newest plan of a camera. Safe from any thread."""
        ...


class Detector(Protocol):
    @property
    def input_size(self) -> tuple[int, int]:
        """Width, height of the detector's input. Safe from any thread."""
        ...

    async def detect(
        self, frame: LetterboxedFrame, owner: WorkOwner, urgency: Urgency
    ) -> Detections:
        """What is in the frame.

        Raises:
            StaleFrameError: it waited for so long that the detector dropped it.
            AtalaiaError: no answer comes in time.
        """
        ...


class EvidenceStore(Protocol):
    def raise_alarms(self, alarms: Sequence[Alarm], frame: I420) -> None:
        """Take over alarms of one frame; they are stored and published in the background."""
        ...

    def remember(self, crop: Crop) -> None:
        """Take over the best crop of a track; it is stored and embedded in the background."""
        ...


class TrackRecorder(Protocol):
    def record_updates(self, updates: Sequence[TrackUpdate]) -> None:
        """Queue track updates for the records."""
        ...


@dataclass(frozen=True, slots=True)
class WatcherServices:
    """The parts of the host, all of which run on its loop.

    Attributes:
        loop: the host's; all that is not documented as safe from any thread runs on it.
    """

    loop: asyncio.AbstractEventLoop
    plans: Plans
    detector: Detector
    evidence: EvidenceStore
    publishers: TrackRecorder
