"""How long a worker waits for the detector of the live cameras."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.batch.remote_detector import MAX_WAIT_S, RemoteDetector
from pipelines.clock import ManualClock
from pipelines.domain import Detections, LetterboxedFrame, WorkOwner
from pipelines.errors import UnavailableError
from tests.factories import ORDERS


class _Away(RemoteDetector):
    """Answers after so many calls that find no detector, of a minute and a half each."""

    def __init__(self, calls: int) -> None:
        self.time = ManualClock()
        self.left = calls
        super().__init__(WorkOwner("acme", "gate"), ORDERS, self.time)

    async def _call(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        self.time.advance(90.0)
        if self.left:
            self.left -= 1
            raise UnavailableError("away.")
        return []


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.batch.remote_detector.time.sleep", lambda _: None)


def _end(detector: RemoteDetector) -> None:
    detector._loop.call_soon_threadsafe(detector._loop.stop)


def test_a_detector_that_comes_back_is_waited_for() -> None:
    detector = _Away(calls=3)
    assert detector.detect([]) == []
    _end(detector)


def test_a_detector_that_stays_away_is_given_up() -> None:
    detector = _Away(calls=100)
    with pytest.raises(UnavailableError):
        detector.detect([])
    assert MAX_WAIT_S < detector.time.monotonic() < MAX_WAIT_S + 91
    _end(detector)
