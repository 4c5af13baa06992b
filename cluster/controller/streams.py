"""What a camera's two streams say of it, beside its state. Pure."""

from __future__ import annotations

from cluster.bridge.units import StreamPhase, StreamStatus
from cluster.controller.state import ObservedCamera

OPENING_S = 8.0
"""A good camera has sent a picture by then; with a round of the controller and the relay's answer
a reason is shown within 15 s."""
RATIO_TOLERANCE = 0.03
"""Sizes are rounded to whole blocks: 640x368 of 1920x1080 is 2 % off."""


def opens_too_long(seen: ObservedCamera) -> bool:
    """Whether its main stream has been opening for longer than a good camera needs."""
    if seen.bridge is None or seen.bridge.main.phase is not StreamPhase.OPENING:
        return False
    return seen.now_us - seen.bridge.main.since_us >= OPENING_S * 1e6


def substream_note(seen: ObservedCamera, why: str) -> str:
    """What is wrong with the sub-stream of a camera; empty if nothing is, or there is none.

    Args:
        why: what is known of the reason why it cannot be read.
    """
    if seen.bridge is None or seen.bridge.detect is None:
        return ""
    main, detect = seen.bridge.main, seen.bridge.detect
    if detect.phase is StreamPhase.FAILED or (detect.phase is StreamPhase.OPENING and why):
        return (
            "The sub-stream cannot be read, so the main stream is analysed instead: "
            f"{why or detect.reason}"
        )
    if detect.phase is StreamPhase.STREAMING and _differ(main, detect):
        return (
            f"The sub-stream has another aspect ratio ({detect.width}x{detect.height}) than the "
            f"main stream ({main.width}x{main.height}), so zones and boxes may be shifted. Set "
            "both to the same ratio in the camera."
        )
    if detect.phase is StreamPhase.STREAMING and detect.reason not in ("", main.reason):
        return f"The sub-stream is transcoded: {detect.reason}."
    return ""


def _differ(main: StreamStatus, detect: StreamStatus) -> bool:
    if 0 in (main.width, main.height, detect.width, detect.height):
        return False
    ratio = (main.width * detect.height) / (main.height * detect.width)
    return not 1 / (1 + RATIO_TOLERANCE) <= ratio <= 1 + RATIO_TOLERANCE
