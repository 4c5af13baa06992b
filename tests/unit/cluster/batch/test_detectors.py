"""How long a worker waits for the detector of the live cameras."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.batch.detectors import MAX_WAIT_S, SharedEyes
from pipelines.clock import ManualClock
from pipelines.domain import Detections, LetterboxedFrame
from pipelines.errors import UnavailableError


class _Away(SharedEyes):
    """Answers after so many calls that find no detector, of a minute and a half each."""

    def __init__(self, calls: int) -> None:
        self.time = ManualClock()
        self.left = calls
        super().__init__(self.time)

    async def _ask(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        self.time.advance(90.0)
        if self.left:
            self.left -= 1
            raise UnavailableError("away.")
        return []


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.batch.detectors.time.sleep", lambda _: None)


def _end(eyes: SharedEyes) -> None:
    eyes._loop.call_soon_threadsafe(eyes._loop.stop)


def test_a_detector_that_comes_back_is_waited_for() -> None:
    eyes = _Away(calls=3)
    assert eyes.look([]) == []
    _end(eyes)


def test_a_detector_that_stays_away_is_given_up() -> None:
    eyes = _Away(calls=100)
    with pytest.raises(UnavailableError):
        eyes.look([])
    assert MAX_WAIT_S < eyes.time.monotonic() < MAX_WAIT_S + 91
    _end(eyes)
