"""The gate in front of a camera's analysis: one frame in flight, and every other one counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.attention import AttentiveSampler, Rates, Urgency
from pipelines.domain import CameraPlan, Detections, FrameStamp
from pipelines.movement import Luma
from pipelines.sampling import FrameSampler, Skip, grid_phase


@dataclass(frozen=True, slots=True)
class Due:
    """A frame that is to be analysed.

    Attributes:
        urgency: among the frames of other cameras.
        quiet_us: capture times, since the frame before, of frames in which nothing moved.
    """

    urgency: Urgency = Urgency.TRACKED
    quiet_us: tuple[int, ...] = ()


EVENLY = Due()
"""As all frames of a camera without attention."""


class FrameGate:
    """A thread-safe frame sampler. The SDK's thread offers frames; the host's loop reopens it.

    Args:
        plan: how the camera is analysed at the start.
    """

    def __init__(self, plan: CameraPlan) -> None:
        self._lock = threading.Lock()
        self._phase = grid_phase(plan.key)
        self._plan = plan
        self._sampler = self._make(plan)
        self._next: FrameSampler | AttentiveSampler | None = None

    def offer(self, capture_us: int, luma: Callable[[], Luma]) -> Due | None:
        """How to analyse the frame captured at `capture_us`, and then call `done`; None: not.

        Args:
            luma: gives `movement.small_luma` of the frame; called at once, or never.
        """
        with self._lock:
            sampler = self._sampler
            if isinstance(sampler, FrameSampler):
                return EVENLY if sampler.offer(capture_us) else None
            if not sampler.offer(capture_us, luma):
                return None
            return Due(sampler.urgency, sampler.take_quiet())

    def done(self) -> None:
        """The frame in flight was analysed, or failed."""
        with self._lock:
            self._sampler.done()
            if self._next is not None:
                self._next.skipped = self._sampler.skipped
                self._sampler, self._next = self._next, None

    def learn(self, stamp: FrameStamp, detections: Detections) -> None:
        """What the detector found in the frame in flight."""
        with self._lock:
            if isinstance(self._sampler, AttentiveSampler):
                self._sampler.learn(stamp.capture_us, detections, (stamp.width, stamp.height))

    def count_late(self) -> None:
        """The frame in flight turned out to be older than the last one."""
        with self._lock:
            self._sampler.skipped[Skip.OLD] += 1

    def count_stale(self) -> None:
        """The detector dropped the frame in flight, because it had waited too long."""
        with self._lock:
            self._sampler.skipped[Skip.STALE] += 1
            if isinstance(self._sampler, AttentiveSampler):
                self._sampler.owe()

    def follow(self, plan: CameraPlan) -> None:
        """Analyse by this plan, from the next frame on. Called while a frame is in flight."""
        with self._lock:
            before, self._plan = self._plan, plan
            if isinstance(self._sampler, FrameSampler) and not plan.camera.attention:
                self._next = None
                self._sampler.set_fps(plan.camera.detect_fps)
            elif _pace(plan) != _pace(before):
                self._next = self._make(plan)
            for sampler in (self._sampler, self._next):
                if isinstance(sampler, AttentiveSampler):
                    sampler.set_rules(plan.rules)

    @property
    def skipped(self) -> dict[str, int]:
        """How many frames were not analysed, by cause."""
        with self._lock:
            return {str(cause): n for cause, n in self._sampler.skipped.items()}

    def _make(self, plan: CameraPlan) -> FrameSampler | AttentiveSampler:
        if not plan.camera.attention:
            return FrameSampler(plan.camera.detect_fps, self._phase)
        sampler = AttentiveSampler(Rates.of(plan.camera), self._phase)
        sampler.set_rules(plan.rules)
        return sampler


def _pace(plan: CameraPlan) -> tuple[bool, Rates]:
    return (plan.camera.attention, Rates.of(plan.camera))
