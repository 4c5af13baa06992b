"""What is said of a camera's sub-stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.bridge.units import CameraBridgeStatus, StreamPhase, StreamStatus
from cluster.controller.state import ObservedCamera
from cluster.controller.streams import opens_too_long, substream_note
from pipelines.domain import CameraKey

NOW_US = 1_700_000_000_000_000
MAIN = StreamStatus(phase=StreamPhase.STREAMING, width=1920, height=1080)


def seen(main: StreamStatus = MAIN, detect: StreamStatus | None = None) -> ObservedCamera:
    bridge = CameraBridgeStatus(CameraKey("acme", "gate"), "1", True, main, detect)
    return ObservedCamera(now_us=NOW_US, enabled=True, bridge=bridge, watcher=None)


def sub(width: int, height: int, reason: str = "") -> StreamStatus:
    return replace(MAIN, width=width, height=height, reason=reason)


@pytest.mark.parametrize("size", [(640, 360), (640, 368), (1280, 720), (0, 0)])
def test_nothing_is_said_of_a_substream_of_the_same_view(size: tuple[int, int]) -> None:
    assert substream_note(seen(detect=sub(*size)), "") == ""
    assert substream_note(seen(), "") == ""


@pytest.mark.parametrize("size", [(640, 480), (704, 576), (352, 240), (360, 640)])
def test_another_aspect_ratio_is_a_warning_with_a_hint(size: tuple[int, int]) -> None:
    note = substream_note(seen(detect=sub(*size)), "")
    assert f"{size[0]}x{size[1]}" in note
    assert "1920x1080" in note
    assert "same ratio" in note


def test_a_jpeg_substream_is_said() -> None:
    note = substream_note(seen(detect=sub(640, 360, "the camera sends mjpeg, not H.264")), "")
    assert note == "The sub-stream is transcoded: the camera sends mjpeg, not H.264."


def test_what_is_said_of_the_main_stream_is_not_said_twice() -> None:
    why = "the camera sends hevc, not H.264"
    assert substream_note(seen(replace(MAIN, reason=why), sub(640, 360, why)), "") == ""


@pytest.mark.parametrize(
    ("phase", "why", "expected"),
    [
        (StreamPhase.FAILED, "no such path", "instead: no such path"),
        (StreamPhase.FAILED, "", "instead: bridge's own"),
        (StreamPhase.OPENING, "no such path", "instead: no such path"),
    ],
)
def test_a_substream_that_cannot_be_read(phase: StreamPhase, why: str, expected: str) -> None:
    detect = StreamStatus(phase=phase, reason="bridge's own")
    assert substream_note(seen(detect=detect), why).endswith(expected)


def test_a_substream_that_is_being_opened_is_no_news() -> None:
    assert substream_note(seen(detect=StreamStatus()), "") == ""


@pytest.mark.parametrize(("age_s", "late"), [(1, False), (7.9, False), (8.1, True)])
def test_when_opening_takes_too_long(age_s: float, late: bool) -> None:
    main = StreamStatus(since_us=NOW_US - round(age_s * 1e6))
    assert opens_too_long(seen(main)) is late
    assert not opens_too_long(seen(replace(main, phase=StreamPhase.STREAMING)))
