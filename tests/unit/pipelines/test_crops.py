"""Which crops of a track are kept, and when they are stored."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.crops import CropRequest, crop_box, normalized
from pipelines.domain import Sighting
from pipelines.pipeline import CameraPipeline, StepResult
from tests.unit.pipelines.properties import PROPERTY
from tests.unit.pipelines.world import (
    SIZE,
    START_US,
    Thing,
    chain,
    frames,
    keys,
    plan,
    run,
    stand,
    walk,
    with_gaps,
)


def run_things(*things: Thing, seconds: float, fps: float = 5) -> list[StepResult]:
    return run(CameraPipeline(plan(fps=fps)), frames(things, seconds, fps))


def crops(results: list[StepResult]) -> list[tuple[float, CropRequest]]:
    return [(number / 5, crop) for number, result in enumerate(results) for crop in result.crops]


def remembered(results: list[StepResult]) -> list[tuple[float, Sighting]]:
    return [
        (number / 5, item.sighting)
        for number, result in enumerate(results)
        for item in result.remember
    ]


PERSON = Thing(walk((0.2, 0.8), (0.8, 0.8), 0, 10))


def test_remembered_soon_and_at_the_end() -> None:
    results = run_things(PERSON, seconds=30)
    (soon, first), (late, last) = remembered(results)
    assert soon == pytest.approx(1.4, abs=0.21)  # 1 s after confirmation
    assert 10 < late <= 17
    assert first.track == last.track
    assert (first.tenant, first.camera, first.label) == ("acme", "gate", "person")
    assert last.first_seen_us == START_US
    assert last.last_seen_us == START_US + 10_000_000
    assert [key for result in results for key in result.forgotten] == [last.track]


def test_a_crop_comes_before_its_memory_and_never_after_it_is_forgotten() -> None:
    results = run_things(
        PERSON, Thing(walk((0.4, 0.5), (0.6, 0.5), 3, 9)), with_gaps(PERSON, (4, 8)), seconds=40
    )
    have: set[str] = set()
    gone: set[str] = set()
    for result in results:
        have |= {crop.track_key for crop in result.crops}
        assert {item.sighting.track for item in result.remember} <= have
        assert not (have & gone)
        gone |= set(result.forgotten)
        have -= gone
    assert gone >= keys(results)


def test_better_crops_replace_worse_ones_but_not_in_every_frame() -> None:
    """Coming nearer: the box grows to four times its size."""
    results = []
    pipeline = CameraPipeline(plan())
    for number in range(100):
        size = 0.1 + 0.003 * number
        thing = Thing(stand((0.5, 0.5 + size / 2)), width=size / 3, height=size)
        ((stamp, found),) = list(frames([thing], 0.2, 5, begin_s=number / 5))
        results.append(pipeline.step(replace(stamp, frame_id=number), found))
    heights = [crop.box[3] - crop.box[1] for _, crop in crops(results)]
    assert heights == sorted(heights)
    assert 5 <= len(heights) <= 15
    assert heights[-1] > 0.85 * 1.1 * 0.397 * SIZE[1]


def test_complete_and_unoccluded_beats_large() -> None:
    cut_off = Thing(walk((0.02, 0.8), (0.3, 0.8), 0, 6))
    (_, last) = crops(run_things(cut_off, seconds=6))[-1]
    assert last.box[0] > 0
    hidden_at_first = Thing(stand((0.5, 0.7)), width=0.1, height=0.4)
    steps_aside = chain(stand((0.52, 0.75), 0, 2), walk((0.52, 0.75), (0.9, 0.75), 2, 6))
    before_it = Thing(steps_aside, width=0.1, height=0.4)
    results = run_things(hidden_at_first, before_it, seconds=8)
    late = [at for at, crop in crops(results) if abs(crop.box[3] - 0.72 * 720) < 5]
    assert late
    assert max(late) > 2


def test_a_flickering_car_is_not_remembered_every_time() -> None:
    gaps = [(10 + 10 * i, 16 + 10 * i) for i in range(12)]
    car = with_gaps(Thing(stand((0.5, 0.6)), width=0.2, height=0.15, label="car"), *gaps)
    results = run_things(car, seconds=140)
    at = [when for when, _ in remembered(results)]
    assert len(at) <= 5
    assert all(b - a >= 60 for a, b in itertools.pairwise(at[1:]))


def test_the_end_of_the_stream_remembers_what_is_left() -> None:
    pipeline = CameraPipeline(plan())
    results = run(pipeline, frames([PERSON], 5, 5))
    (item,) = pipeline.finish().remember
    assert item.sighting.track in keys(results)
    assert item.sighting.last_seen_us == START_US + 4_800_000
    assert pipeline.finish() == StepResult()


def test_a_short_track_is_remembered_once_and_a_flash_never() -> None:
    short = run_things(Thing(stand((0.5, 0.5), 1, 1.7)), seconds=20)
    assert len(remembered(short)) == 1
    assert remembered(run_things(Thing(stand((0.5, 0.5), 1, 1.1)), seconds=20)) == []


@PROPERTY
@given(
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    st.tuples(*[st.floats(-0.5, 1.5) for _ in range(4)]),
)
def test_crop_boxes_lie_in_the_frame(
    size: tuple[int, int], corners: tuple[float, float, float, float]
) -> None:
    xs = sorted(corner * size[0] for corner in corners[:2])
    ys = sorted(corner * size[1] for corner in corners[2:])
    box = (xs[0], ys[0], xs[1], ys[1])
    x1, y1, x2, y2 = crop_box(box, size)
    assert 0 <= x1 < x2 <= size[0]
    assert 0 <= y1 < y2 <= size[1]
    assert all(0 <= side <= 1 for side in normalized(box, size))
