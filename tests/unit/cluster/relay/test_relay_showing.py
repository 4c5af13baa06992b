"""How long the picture of a camera is looked at, whatever the camera sends."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import av
import pytest

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.relay.showing import FIRST_PICTURE_S, look_at
from pipelines.clock import ManualClock
from pipelines.domain import PictureFault

PACKETS_PER_S = 10
BEYOND = 1_000
"""Packets that no look may take."""


class Packet:
    def __init__(self, frames: list[av.VideoFrame]) -> None:
        self._frames = frames

    def decode(self) -> list[av.VideoFrame]:
        return self._frames


class Camera:
    """A stream without end, whose first `dark` packets do not decode."""

    def __init__(self, clock: ManualClock, dark: int) -> None:
        self.read = 0
        self._clock = clock
        self._dark = dark

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def demux(self, **_: Any) -> Iterator[Packet]:
        while True:
            self.read += 1
            assert self.read < BEYOND, "it is read for ever"
            self._clock.advance(1 / PACKETS_PER_S)
            yield Packet([] if self.read <= self._dark else [av.VideoFrame(64, 64, "yuv420p")])


def _look(monkeypatch: pytest.MonkeyPatch, dark: int) -> tuple[PictureFault | None, Camera]:
    clock = ManualClock()
    camera = Camera(clock, dark)
    monkeypatch.setattr("cluster.relay.showing.av.open", lambda *_, **__: camera)
    return look_at("rtsp://127.0.0.1/", 5.0, clock), camera


def test_a_camera_whose_packets_never_decode_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableCameraError) as raised:
        _look(monkeypatch, dark=BEYOND)
    assert raised.value.problem is CameraProblem.UNSUPPORTED


def test_a_late_key_frame_is_waited_for_and_the_look_begins_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = round((FIRST_PICTURE_S - 2) * PACKETS_PER_S)
    _, camera = _look(monkeypatch, dark=late)
    assert camera.read == pytest.approx(late + 5 * PACKETS_PER_S, abs=3)
