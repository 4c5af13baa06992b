"""Whether a finished file is kept. Pure, except for the query for alarms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from cluster.recording.segment import SegmentFile

HasAlarm = Callable[[int, int], Awaitable[bool]]
"""Whether the camera has an alarm captured between two times, both inclusive, UTC microseconds.
Raises UnavailableError."""


class Verdict(StrEnum):
    """The decision on a file."""

    KEEP = "keep"
    WAIT = "wait"
    DROP = "drop"


def final_us(file: SegmentFile, grace_us: int) -> int:
    """When a file without alarms can be dropped, UTC microseconds.

    The last alarm that would keep the file comes a pre-roll after its end, and takes up to
    `grace_us` to reach the database.
    """
    before_us = file.tags.rolls_us[0] if file.tags.rolls_us else 0
    return file.end_us + before_us + grace_us


async def decide(file: SegmentFile, settled: bool, has_alarm: HasAlarm) -> Verdict:
    """Keep a file once there is an alarm for it; drop it once none can come any more.

    Args:
        settled: whether, before this call, no further alarm was possible.

    Raises:
        UnavailableError: the database is down; the file waits.
    """
    if file.tags.rolls_us is None:
        return Verdict.KEEP
    before_us, after_us = file.tags.rolls_us
    if await has_alarm(file.start_us - after_us, file.end_us + before_us):
        return Verdict.KEEP
    return Verdict.DROP if settled else Verdict.WAIT
