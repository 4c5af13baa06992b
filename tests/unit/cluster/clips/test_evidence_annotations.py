"""Detections beside a clip: boxes at the times of their frames, the alarm's own always."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cluster.clips.annotations import (
    HOLD_US,
    FrameAnnotations,
    annotated_frames,
    as_json,
    as_webvtt,
    is_complete,
)
from cluster.clips.coverage import Span
from pipelines.domain import TrackPath
from tests.factories import T0_US, make_alarm

ALARM = make_alarm(5, track="walker")
"""A person, five seconds after T0."""
CLIP = Span(T0_US + 2_000_000, T0_US + 9_000_000)


def path(track: str, start_us: int, *at_ms: int, label: str = "person") -> TrackPath:
    """A track that stands in the left half of the frame, seen at these times after its start."""
    return TrackPath(
        tenant="acme",
        camera="gate",
        track=track,
        label=label,
        confidence=0.75,
        start_us=start_us,
        end_us=start_us + at_ms[-1] * 1_000,
        points=tuple((ms, 0, 2_500, 5_000, 10_000) for ms in at_ms),
    )


def times(frames: list[FrameAnnotations]) -> list[int]:
    """Frame times, milliseconds after the start of the clip."""
    return [round((frame.at_us - CLIP.from_us) / 1_000) for frame in frames]


def test_without_any_path_there_is_the_alarms_own_box() -> None:
    [frame] = annotated_frames(ALARM, [], CLIP)
    assert times([frame]) == [3_000]
    [box] = frame.boxes
    assert (box.track, box.box, box.alarm) == ("walker", ALARM.box, True)


def test_only_detections_within_the_clip_are_included() -> None:
    far = path("car", T0_US, 0, 1_999, 2_000, 8_999, 9_000)
    assert times(annotated_frames(ALARM, [far], CLIP)) == [0, 3_000, 6_999]


def test_boxes_of_one_frame_are_grouped_in_order() -> None:
    """Paths count milliseconds from different starts: times of one frame may differ by one."""
    frames = annotated_frames(
        ALARM,
        [
            path("b", T0_US + 3_000_400, 0, 200),
            path("a", T0_US + 2_999_900, 0, 200, label="car"),
        ],
        CLIP,
    )
    assert times(frames) == [1_000, 1_200, 3_000]
    assert [[box.track for box in frame.boxes] for frame in frames] == [
        ["a", "b"],
        ["a", "b"],
        ["walker"],
    ]
    assert frames[0].boxes[0].box == (0.0, 0.25, 0.5, 1.0)


def test_the_alarms_box_replaces_the_one_of_its_track() -> None:
    own = path("walker", T0_US + 4_800_000, 0, 200, 400)
    frames = annotated_frames(ALARM, [own, path("other", T0_US + 4_800_000, 0, 200)], CLIP)
    assert times(frames) == [2_800, 3_000, 3_200]
    assert [[(b.track, b.alarm) for b in frame.boxes] for frame in frames] == [
        [("other", False), ("walker", False)],
        [("other", False), ("walker", True)],
        [("walker", False)],
    ]
    assert frames[1].boxes[1].box == ALARM.box


def test_the_alarms_box_joins_the_frame_of_other_boxes() -> None:
    frames = annotated_frames(ALARM, [path("other", T0_US + 4_800_000, 0, 200)], CLIP)
    assert [[box.track for box in frame.boxes] for frame in frames] == [
        ["other"],
        ["other", "walker"],
    ]


def written(frames: list[FrameAnnotations], complete: bool = True) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(as_json(ALARM, frames, CLIP, complete=complete))
    return body


def test_json() -> None:
    frames = annotated_frames(ALARM, [path("other", T0_US + 2_500_000, 0)], CLIP)
    assert written(frames) == {
        "version": 1,
        "alarm": str(ALARM.id),
        "complete": True,
        "from": "2023-11-14T22:13:22.000000Z",
        "to": "2023-11-14T22:13:29.000000Z",
        "frames": [
            {
                "t": 0.5,
                "boxes": [
                    {
                        "track": "other",
                        "class": "person",
                        "confidence": 0.75,
                        "box": [0.0, 0.25, 0.5, 1.0],
                    }
                ],
            },
            {
                "t": 3.0,
                "boxes": [
                    {
                        "track": "walker",
                        "class": "person",
                        "confidence": 0.87,
                        "box": [0.1, 0.2, 0.3, 0.4],
                        "alarm": True,
                    }
                ],
            },
        ],
    }


@pytest.mark.parametrize("complete", [True, False])
def test_the_complete_flag_can_be_read_back(complete: bool) -> None:
    assert is_complete(as_json(ALARM, [], CLIP, complete=complete)) is complete


def cues(vtt: bytes) -> list[tuple[str, str, Any]]:
    head, *blocks = vtt.decode().split("\n\n")
    assert head == "WEBVTT"
    found = []
    for block in blocks:
        timing, payload = block.strip().split("\n")
        start, end = re.fullmatch(r"(\S+) --> (\S+)", timing).groups()  # type: ignore[union-attr]
        found.append((start, end, json.loads(payload)))
    return found


def test_webvtt_has_the_same_boxes_in_cues_that_do_not_overlap() -> None:
    frames = annotated_frames(ALARM, [path("other", T0_US + 2_500_000, 0, 200, 6_400)], CLIP)
    found = cues(as_webvtt(frames, CLIP))
    assert [(start, end) for start, end, _ in found] == [
        ("00:00:00.500", "00:00:00.700"),
        # After a gap in the analysis the box disappears.
        ("00:00:00.700", "00:00:01.200"),
        ("00:00:03.000", "00:00:03.500"),
        # The clip ends.
        ("00:00:06.900", "00:00:07.000"),
    ]
    assert HOLD_US == 500_000
    assert [payload["boxes"] for _, _, payload in found] == [
        frame["boxes"] for frame in written(frames)["frames"]
    ]


def test_no_class_name_breaks_a_cue() -> None:
    odd = path("x", T0_US + 2_500_000, 0, label="a --> b\n\nc")
    [(_, _, payload), _] = cues(as_webvtt(annotated_frames(ALARM, [odd], CLIP), CLIP))
    assert payload["boxes"][0]["class"] == "a --> b\n\nc"


def test_hours() -> None:
    long = Span(CLIP.from_us, CLIP.from_us + 2 * 3_600_000_000)
    at_us = CLIP.from_us + 3_723_004_000
    [_, (start, _, _)] = cues(as_webvtt(annotated_frames(ALARM, [path("x", at_us, 0)], long), long))
    assert start == "01:02:03.004"
