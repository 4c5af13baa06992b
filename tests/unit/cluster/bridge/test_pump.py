"""What a pump decides by the clock, without a camera and without a room."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from pydantic import SecretStr

from cluster.bridge.pump import PUBLISH_TIMEOUT_S, StreamPump
from cluster.bridge.room import TrackSink
from cluster.core.backoff import Backoff
from cluster.core.settings import BridgeSettings
from pipelines.clock import Clock, ManualClock
from pipelines.errors import UnavailableError


class SteppingClock(ManualClock):
    """Five seconds go by from one reading to the next."""

    readings = 0

    def monotonic(self) -> float:
        self.readings += 1
        self.advance(5.0)
        return super().monotonic()


def _pump(clock: Clock, answer: Future[None]) -> StreamPump:
    return StreamPump(
        "acme.gate/main",
        SecretStr("rtsp://gateway/gate"),
        TrackSink("main"),
        lambda _sink, _size: answer,
        settings=BridgeSettings(),
        clock=clock,
        backoff=Backoff(0.1, 1.0),
    )


def test_a_room_that_does_not_take_the_track_is_given_up() -> None:
    clock = SteppingClock()
    with pytest.raises(UnavailableError, match="in time"):
        _pump(clock, Future())._publish((640, 360))
    assert clock.readings == 2 + PUBLISH_TIMEOUT_S // 5


def test_a_room_that_takes_the_track_at_once_is_not_waited_for() -> None:
    answer: Future[None] = Future()
    answer.set_result(None)
    _pump(SteppingClock(), answer)._publish((640, 360))
