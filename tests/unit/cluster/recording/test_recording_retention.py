"""What is kept of a camera that only records around alarms."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.core.settings import RecordingSettings
from cluster.recording.finality import KEY_FRAME_S, SHIPPING_S, settled_after_s
from cluster.recording.retention import Verdict, decide, final_us
from cluster.recording.segment import SegmentFile, VideoFormat
from cluster.recording.tags import NO_TAGS, Tags
from pipelines.domain import MaskedRecording, Recording, RecordingMode, Schedule, Window
from pipelines.errors import UnavailableError

S = 1_000_000
START_US = 1_790_000_000 * S
END_US = START_US + 10 * S
GRACE_US = 20 * S
# Pre-roll 5 s, post-roll 30 s.
ON_ALARM = Tags(rolls_us=(5 * S, 30 * S))


def segment(tags: Tags = ON_ALARM) -> SegmentFile:
    video = VideoFormat("h264", 64, 48)
    return SegmentFile(
        Path("a.mp4"), video, START_US, START_US, END_US, 250, 1, "0" * 64, None, tags
    )


class Alarms:
    """An alarm at each of these times."""

    def __init__(self, *times_us: int) -> None:
        self.times_us = times_us

    async def __call__(self, from_us: int, to_us: int) -> bool:
        return any(from_us <= at_us <= to_us for at_us in self.times_us)


@pytest.mark.parametrize(
    ("alarm_us", "verdict"),
    [
        (START_US - 30 * S - 1, Verdict.DROP),  # its post-roll ends just before the file
        (START_US - 30 * S, Verdict.KEEP),
        (START_US + 1, Verdict.KEEP),
        (END_US, Verdict.KEEP),
        (END_US + 5 * S, Verdict.KEEP),
        (END_US + 5 * S + 1, Verdict.DROP),  # its pre-roll begins just after the file
    ],
)
async def test_an_alarm_keeps_files_within_pre_and_post_roll(
    alarm_us: int, verdict: Verdict
) -> None:
    assert await decide(segment(), True, Alarms(alarm_us)) is verdict


async def test_no_file_is_dropped_while_an_alarm_may_still_arrive() -> None:
    due_us = END_US + 5 * S + 20 * S
    assert final_us(segment(), GRACE_US) == due_us
    assert await decide(segment(), False, Alarms()) is Verdict.WAIT
    assert await decide(segment(), True, Alarms()) is Verdict.DROP
    # An alarm that exists already decides at once.
    assert await decide(segment(), False, Alarms(END_US)) is Verdict.KEEP


async def test_other_modes_keep_every_file_without_a_query() -> None:
    async def never(from_us: int, to_us: int) -> bool:
        raise AssertionError("nobody has to be asked")

    assert await decide(segment(NO_TAGS), True, never) is Verdict.KEEP


async def test_a_database_outage_postpones_the_verdict() -> None:
    async def away(from_us: int, to_us: int) -> bool:
        raise UnavailableError("the records are away")

    with pytest.raises(UnavailableError):
        await decide(segment(), True, away)


def test_tags_round_trip_and_foreign_comments_are_ignored() -> None:
    tags = Tags(masked=True, note="sound: none", rolls_us=(1, 2))
    assert Tags.decode(tags.encode()) == tags
    assert Tags.decode("made by somebody else") is None
    assert Tags.decode("") is None


SETTINGS = RecordingSettings(segment_s=60, alarm_segment_s=10, grace_s=20)
MASKS = (((0.0, 0.0), (0.5, 0.0), (0.5, 0.5)),)


@pytest.mark.parametrize(
    ("recording", "masks", "seconds"),
    [
        (Recording(pre_roll_s=5, post_roll_s=30), (), 30 + 10 + 5 + 20),
        (Recording(mode=RecordingMode.CONTINUOUS, post_roll_s=7), (), 7 + 60),
        (
            Recording(
                mode=RecordingMode.SCHEDULE, post_roll_s=7, schedule=Schedule(windows=(Window(),))
            ),
            MASKS,
            7 + 60,
        ),
    ],
)
def test_when_the_recording_of_an_alarm_is_final(
    recording: Recording, masks: tuple[tuple[tuple[float, float], ...], ...], seconds: float
) -> None:
    expected = seconds + KEY_FRAME_S + SHIPPING_S
    assert settled_after_s(SETTINGS, recording, masks) == pytest.approx(expected)


def test_without_recording_there_is_nothing_to_wait_for() -> None:
    assert settled_after_s(SETTINGS, Recording(mode=RecordingMode.OFF)) == 0
    assert settled_after_s(SETTINGS, Recording(masked=MaskedRecording.OFF), MASKS) == 0
