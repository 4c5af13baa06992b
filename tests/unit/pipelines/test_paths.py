"""Paths: every box of a confirmed track once, in order, in pieces with deterministic ids."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import PATH_CELL_US, PATH_SCALE, Detections, FrameStamp, TrackPath
from pipelines.paths import MAX_POINTS
from pipelines.pipeline import CameraPipeline, StepResult
from tests.unit.pipelines.properties import PROPERTY
from tests.unit.pipelines.world import (
    SIZE,
    START_US,
    Thing,
    frames,
    keys,
    plan,
    run,
    stand,
    walk,
    with_gaps,
)

Box = tuple[int, int, int, int]
STANDS = Thing(stand((0.5, 0.8)), width=0.1, height=0.3)
CORNERS = [4500, 5000, 5500, 8000]
"""Its box, worked out by hand: 0.5 ± 0.05 and 0.8 - 0.3 to 0.8."""


def watch(stream: list[tuple[FrameStamp, Detections]]) -> list[StepResult]:
    """All results, that of the end included."""
    pipeline = CameraPipeline(plan())
    return [*run(pipeline, stream), pipeline.finish()]


def paths(results: list[StepResult]) -> list[TrackPath]:
    return [path for result in results for path in result.paths]


def points(finished: list[TrackPath]) -> dict[str, list[tuple[int, Box]]]:
    """Milliseconds since 1970 and box, by track, in the order of the paths."""
    joined = defaultdict(list)
    for path in finished:
        for at_ms, x1, y1, x2, y2 in path.points:
            joined[path.track].append((path.start_us // 1_000 + at_ms, (x1, y1, x2, y2)))
    return joined


def test_a_thing_that_stands_for_12_seconds() -> None:
    """From a cell's start: 5 s, 5 s and the rest, five points each second, all in one place."""
    start_us = START_US - START_US % PATH_CELL_US
    finished = paths(watch(list(frames([STANDS], 12, 5, start_us=start_us))))

    assert [path.start_us - start_us for path in finished] == [0, 5_000_000, 10_000_000]
    assert [path.end_us - start_us for path in finished] == [4_800_000, 9_800_000, 11_800_000]
    assert [len(path.points) for path in finished] == [25, 25, 10]
    assert [point[0] for point in finished[1].points] == list(range(0, 5_000, 200))
    assert {tuple(point[1:]) for path in finished for point in path.points} == {tuple(CORNERS)}
    assert {(p.tenant, p.camera, p.label) for p in finished} == {("acme", "gate", "person")}
    assert all(path.confidence == pytest.approx(0.85) for path in finished)


def test_a_path_ends_with_the_first_frame_after_its_cell() -> None:
    start_us = START_US - START_US % PATH_CELL_US
    results = watch(list(frames([STANDS], 12, 5, start_us=start_us)))

    assert [number for number, result in enumerate(results) if result.paths] == [25, 50, 60]


def test_boxes_from_before_the_confirmation_belong_to_it() -> None:
    """Confirmed with the third frame; the first two are in the path all the same."""
    results = watch(list(frames([STANDS], 2, 5)))

    assert [bool(result.tracks) for result in results[:3]] == [False, False, True]
    (path,) = paths(results)
    assert path.start_us + path.points[0][0] * 1_000 == START_US
    assert len(path.points) == 10


def test_what_is_never_confirmed_has_no_path() -> None:
    flash = Thing(stand((0.5, 0.5), 1, 1.1))
    pipeline = CameraPipeline(plan())

    assert paths(run(pipeline, frames([flash], 20, 5))) == []
    assert pipeline.held()["paths"] == 0
    assert paths([pipeline.finish()]) == []


def test_finish_returns_the_remaining_paths_once() -> None:
    pipeline = CameraPipeline(plan())
    run(pipeline, frames([STANDS], 2, 5))

    assert len(pipeline.finish().paths) == 1
    assert pipeline.finish() == StepResult()


def test_lost_and_found_within_a_cell_is_one_path() -> None:
    """Ended and come back before the cell was over: a second path would replace the first."""
    start_us = START_US - START_US % PATH_CELL_US
    thing = with_gaps(STANDS, (1.0, 4.0))
    finished = paths(watch(list(frames([thing], 6, 5, start_us=start_us))))

    assert [path.start_us - start_us for path in finished] == [0, 5_000_000]
    assert [point[0] for point in finished[0].points] == [
        0,
        200,
        400,
        600,
        800,
        *range(4000, 5000, 200),
    ]


def test_boxes_are_clipped_to_the_frame_and_follow_its_size() -> None:
    """The same place at two resolutions; a camera may change it."""
    half = Thing(stand((0.0, 0.5)), width=0.2, height=0.5)
    stream = list(frames([half], 2, 5))
    stream += list(frames([half], 2, 5, begin_s=2, size=(640, 360)))

    (joined,) = points(paths(watch(stream))).values()

    assert {box for _, box in joined} == {(0, 0, 1000, 5000)}
    assert len(joined) == 20


def test_the_most_sure_point_gives_the_confidence() -> None:
    unsure = replace(STANDS, confidence_at=lambda t: 0.9 if t == pytest.approx(1.0) else 0.6)
    (path,) = paths(watch(list(frames([unsure], 2, 5))))

    assert path.confidence == pytest.approx(0.9)


def test_a_fast_camera_fills_paths_before_the_cell_ends() -> None:
    start_us = START_US - START_US % PATH_CELL_US
    finished = paths(watch(list(frames([STANDS], 4, 500, start_us=start_us))))

    assert [len(path.points) for path in finished] == [MAX_POINTS, MAX_POINTS]
    assert [path.start_us - start_us for path in finished] == [0, 2_000_000]


def test_a_clock_that_is_set_back_replaces_nothing() -> None:
    start_us = START_US - START_US % PATH_CELL_US
    stream = list(frames([STANDS], 8, 5, start_us=start_us))
    again = [(replace(s, capture_us=s.capture_us - 6_000_000), d) for s, d in stream[20:]]
    finished = paths(watch(stream + again))

    names = [(path.track, path.start_us) for path in finished]
    assert len(names) == len(set(names))
    assert sum(len(path.points) for path in finished) == len(stream + again)


@PROPERTY
@given(
    fps=st.sampled_from([1.5, 2, 5, 7.3, 15, 25]),
    seed=st.integers(0, 1_000),
    kept=st.sampled_from([1.0, 0.7]),
    begin_ms=st.integers(0, 5_000),
)
def test_paths_of_a_track_are_its_boxes_in_order(
    fps: float, seed: int, kept: float, begin_ms: int
) -> None:
    """Whatever the frame rate, and whichever frames are skipped."""
    chance = random.Random(seed)
    things = [
        Thing(walk((chance.random(), 0.9), (chance.random(), 0.5), 0, 7), label=label)
        for label in ("person", "car", "dog")
    ]
    stream = [
        item
        for item in frames(things, 8, fps, noise=0.02, start_us=START_US + begin_ms * 1_000)
        if chance.random() < kept
    ]
    results = watch(stream)

    expected = defaultdict(list)
    confirmed_from: dict[str, int] = {}
    for (stamp, _), result in zip(stream, results, strict=False):
        for track in result.tracks:
            scaled = np.round(np.array(track.box) / np.array(SIZE * 2) * PATH_SCALE)
            box = np.clip(scaled, 0, PATH_SCALE).astype(int).tolist()
            expected[track.key].append((stamp.capture_us // 1_000, tuple(box)))
            confirmed_from.setdefault(track.key, stamp.capture_us // 1_000)
    finished = points(paths(results))
    assert finished.keys() == keys(results)
    for key, joined in finished.items():
        assert [p for p in joined if p[0] >= confirmed_from[key]] == expected[key]
        assert [at for at, _ in joined] == sorted({at for at, _ in joined})
        assert int(key.partition("-")[0], 16) == joined[0][0]  # from its very first frame on


@PROPERTY
@given(fps=st.sampled_from([2, 5, 12, 25]), seed=st.integers(0, 100))
def test_path_ids_do_not_depend_on_which_frames_were_analysed(fps: float, seed: int) -> None:
    """A busy detector skips a third of the frames, but not the first and not a whole cell."""
    chance = random.Random(seed)
    whole = list(frames([STANDS], 13, fps))
    part = [item for n, item in enumerate(whole) if n < 4 or chance.random() < 0.66]

    def names(stream: list[tuple[FrameStamp, Detections]]) -> set[tuple[str, int]]:
        return {(path.track, path.start_us) for path in paths(watch(stream))}

    assert names(part) == names(whole)
