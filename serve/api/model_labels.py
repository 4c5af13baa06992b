"""The classes that the running model knows, remembered for a moment."""

from __future__ import annotations

import asyncio

from pipelines.clock import Clock
from pipelines.errors import UnavailableError
from serve.api.ports import DetectorPort

# A model is replaced by hand, and a rule is made by hand: seconds are soon enough.
FRESH_FOR_S = 10.0
# A detector that answers takes milliseconds; a rule shall not wait for one that restarts.
TIMEOUT_S = 2.0


class ModelLabels:
    """Owned by the application.

    Args:
        detector: where the labels come from.
        clock: for how long they are remembered.
    """

    def __init__(self, detector: DetectorPort, clock: Clock) -> None:
        self._detector = detector
        self._clock = clock
        self._labels: tuple[str, ...] | None = None
        self._read_at = 0.0

    async def current(self) -> tuple[str, ...] | None:
        """Class names in the model's order; the last known ones while the detector is away, None
        if it has not answered yet."""
        now = self._clock.monotonic()
        if self._labels is None or now - self._read_at > FRESH_FOR_S:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    self._labels = (await self._detector.info()).labels
            except (TimeoutError, UnavailableError):
                return self._labels
            self._read_at = now
        return self._labels
