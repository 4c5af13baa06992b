"""The gate in front of a camera's analysis: one frame in flight, and every other one counted."""

from __future__ import annotations

import threading

from pipelines.sampling import FrameSampler, Skip


class FrameGate:
    """A thread-safe frame sampler. The SDK's thread offers frames; the host's loop reopens it.

    Args:
        fps: frames per second to analyse.
        phase: see `FrameSampler`.
    """

    def __init__(self, fps: float, phase: float) -> None:
        self._sampler = FrameSampler(fps, phase)
        self._lock = threading.Lock()

    def offer(self, capture_us: int) -> bool:
        """Whether to analyse the frame captured at `capture_us`; if so, call `done` afterwards."""
        with self._lock:
            return self._sampler.offer(capture_us)

    def done(self) -> None:
        """The frame in flight was analysed, or failed."""
        with self._lock:
            self._sampler.done()

    def count_late(self) -> None:
        """The frame in flight turned out to be older than the last one."""
        with self._lock:
            self._sampler.skipped[Skip.OLD] += 1

    def count_stale(self) -> None:
        """The detector dropped the frame in flight, because it had waited too long."""
        with self._lock:
            self._sampler.skipped[Skip.STALE] += 1

    def set_fps(self, fps: float) -> None:
        with self._lock:
            self._sampler.set_fps(fps)

    @property
    def skipped(self) -> dict[str, int]:
        """How many frames were not analysed, by cause."""
        with self._lock:
            return {str(cause): n for cause, n in self._sampler.skipped.items()}
