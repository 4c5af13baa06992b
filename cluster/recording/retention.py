"""Whether a finished file is kept. Pure, but for the question whether there was an alarm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from cluster.recording.segment import SegmentFile

Alarmed = Callable[[int, int], Awaitable[bool]]
"""Whether the camera has an alarm of a frame captured from the first time (microseconds) up to and
with the second. Raises UnavailableError."""


class Verdict(StrEnum):
    KEEP = "keep"
    WAIT = "wait"
    DROP = "drop"


def decided_us(file: SegmentFile, grace_us: int) -> int:
    """From when on a file without an alarm is dropped: the last alarm that would keep it was seen
    its pre-roll after the end, and takes some time to come into the records."""
    before_us = file.tags.rolls_us[0] if file.tags.rolls_us else 0
    return file.end_us + before_us + grace_us


async def judge(file: SegmentFile, settled: bool, alarmed: Alarmed) -> Verdict:
    """Keep a file as soon as there is an alarm for it; drop it when none can come any more.

    Args:
        settled: whether none could come any more, before this was called.

    Raises:
        UnavailableError: the records cannot be asked; the file waits.
    """
    if file.tags.rolls_us is None:
        return Verdict.KEEP
    before_us, after_us = file.tags.rolls_us
    if await alarmed(file.start_us - after_us, file.end_us + before_us):
        return Verdict.KEEP
    return Verdict.DROP if settled else Verdict.WAIT
