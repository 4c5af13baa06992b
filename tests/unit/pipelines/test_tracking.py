"""One camera's tracks: names, loss and return, odd input."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import Detections, FrameStamp
from pipelines.tracking import CameraTracker, Observation, Scene
from tests.unit.pipelines.properties import PROPERTY, SLOW_PROPERTY
from tests.unit.pipelines.world import (
    SIZE,
    START_US,
    Thing,
    chain,
    frames,
    stand,
    walk,
    with_gaps,
)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterable[None]:
    """The library warns where it is called out of order; we must never do that."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def track(stream: Iterable[tuple[FrameStamp, Detections]], activation: float = 0.4) -> list[Scene]:
    tracker = CameraTracker(activation)
    scenes = [tracker.update(stamp, found) for stamp, found in stream]
    return [scene for scene in scenes if scene is not None]


def confirmed(scenes: Iterable[Scene]) -> list[Observation]:
    return [seen for scene in scenes for seen in scene.seen if seen.confirmed]


def names(scenes: Iterable[Scene]) -> set[str]:
    return {seen.track.key for seen in confirmed(scenes)}


WALK = walk((0.05, 0.8), (0.95, 0.8), 0, 20)


@pytest.mark.parametrize("fps", [1, 2, 5, 12.5, 30])
def test_a_walker_is_one_track_at_every_rate(fps: float) -> None:
    scenes = track(frames([Thing(WALK)], 20, fps, noise=0.04))
    assert len(names(scenes)) == 1
    first = confirmed(scenes)[0]
    assert first.track.first_seen_us == START_US
    assert first.track.last_seen_us - START_US <= 1_000_000
    # Found in every frame once it is confirmed.
    assert len(confirmed(scenes)) >= len(scenes) - fps - 1


def test_the_key_comes_from_the_first_frame() -> None:
    scenes = track(frames([Thing(WALK)], 2, 5))
    hexadecimal = f"{START_US // 1000:011x}"
    assert names(scenes) == {f"{hexadecimal}-0c-0-person"}


def test_a_flash_is_never_confirmed() -> None:
    flash = Thing(stand((0.5, 0.5), 1.0, 1.25))
    scenes = track(frames([flash], 5, 25))
    assert sum(len(scene.seen) for scene in scenes) == 7
    assert names(scenes) == set()


@pytest.mark.parametrize("fps", [2, 5, 25])
def test_crossing_walkers_keep_their_keys(fps: float) -> None:
    there = Thing(walk((0.1, 0.70), (0.9, 0.70), 0, 10))
    back = Thing(walk((0.9, 0.90), (0.1, 0.90), 0, 10), width=0.06, height=0.32)
    scenes = track(frames([there, back], 10, fps))
    assert len(names(scenes)) == 2


def test_weak_detections_prolong_a_track_and_start_none() -> None:
    weak_between = Thing(WALK, confidence_at=lambda t: 0.85 if t < 3 or t > 12 else 0.27)
    scenes = track(frames([weak_between], 20, 5))
    assert len(names(scenes)) == 1
    assert len(confirmed(scenes)) >= 98  # seen throughout
    weak = Thing(WALK, confidence=0.27)
    assert track(frames([weak], 20, 5))[-1].seen == ()
    assert len(names(track(frames([weak], 20, 5), activation=0.25))) == 1


def test_steady_confidence_is_a_median() -> None:
    spike = Thing(WALK, confidence_at=lambda t: 0.95 if t == 5 else 0.45)
    scenes = track(frames([spike], 20, 5))
    assert max(seen.steady_confidence for seen in confirmed(scenes)) == pytest.approx(0.45)


@pytest.mark.parametrize("gap_s", [1, 2.5, 4, 5.5])
def test_a_walker_behind_a_van_keeps_its_key(gap_s: float) -> None:
    # 0.35 of its box sizes per second, so well in reach when it comes out again.
    slow = Thing(walk((0.3, 0.8), (0.6, 0.8), 0, 20))
    scenes = track(frames([with_gaps(slow, (6, 6 + gap_s))], 20, 5))
    assert len(names(scenes)) == 1


def test_another_walker_much_later_is_another_track() -> None:
    first = Thing(walk((0.3, 0.8), (0.5, 0.8), 0, 10))
    later = Thing(walk((0.5, 0.8), (0.3, 0.8), 20, 30))
    assert len(names(track(frames([first, later], 30, 5)))) == 2


PARKED = Thing(stand((0.5, 0.6)), width=0.15, height=0.12, label="car")


@pytest.mark.parametrize("fps", [1, 5])
def test_a_parked_car_keeps_its_key_through_long_losses(fps: float) -> None:
    car = with_gaps(PARKED, (8, 30), (40, 41), (45, 160), (170, 480))
    scenes = track(frames([car], 500, fps, noise=0.03))
    assert len(names(scenes)) == 1
    first = confirmed(scenes)[0].track
    assert {seen.track.first_seen_us for seen in confirmed(scenes)} == {first.first_seen_us}


@pytest.mark.parametrize("chance", [0.2, 0.35, 0.6])
def test_a_parked_car_that_flickers_keeps_its_key(chance: float) -> None:
    rng = random.Random(4)
    luck = {round(t / 5, 6): rng.random() < chance for t in range(1500)}
    car = replace(PARKED, seen=lambda t: luck[round(t, 6)])
    assert len(names(track(frames([car], 300, 5, noise=0.03)))) == 1


def test_a_gradually_occluded_car_keeps_its_key() -> None:
    """A lorry comes between: the box shrinks from one side, is gone, and grows from that side."""

    def boxes(t: float) -> list[list[float]]:
        left = 500 + max(0.0, min(1.0, (t - 20) / 4)) * 180
        right = 680 if t < 60 else 500 + min(1.0, (t - 60) / 4) * 180
        left = left if t < 60 else 500
        return [[left, 300, right, 420]] if right - left > 40 else []

    stream = []
    for number in range(500):
        t = number / 5
        rows = np.array(boxes(t), dtype=np.float32).reshape(-1, 4)
        found = Detections(rows, np.full(len(rows), 0.8, np.float32), ("car",) * len(rows))
        stream.append((FrameStamp(START_US + number * 200_000, number, *SIZE), found))
    assert len(names(track(stream))) == 1


def test_a_car_that_takes_the_place_of_one_that_left_is_another() -> None:
    leaves = chain(stand((0.5, 0.6), 0, 60), walk((0.5, 0.6), (0.95, 0.6), 60, 66))
    comes = chain(walk((0.05, 0.6), (0.5, 0.6), 80, 86), stand((0.5, 0.6), 86, 200))
    cars = [replace(PARKED, path=path) for path in (leaves, comes)]
    scenes = track(frames(cars, 200, 5))
    assert len(names(scenes)) == 2


def test_lookalike_classes_are_one_track() -> None:
    swings = replace(PARKED, label_at=lambda t: "truck" if int(t * 5) % 3 == 0 else "car")
    scenes = track(frames([swings], 60, 5))
    assert len(names(scenes)) == 1
    assert {seen.track.label for seen in confirmed(scenes)[5:]} == {"car"}


def test_a_car_seen_as_car_and_truck_at_once_is_one_track() -> None:
    double = [PARKED, replace(PARKED, label="truck", confidence=0.5, width=0.152)]
    scenes = track(frames(double, 10, 5))
    assert len(names(scenes)) == 1
    assert max(len(scene.seen) for scene in scenes) == 1


def test_a_person_before_a_car_is_not_the_car() -> None:
    person = Thing(stand((0.5, 0.6)), width=0.15, height=0.12, label="person")
    assert len(names(track(frames([PARKED, person], 10, 5)))) == 2


def test_a_camera_away_for_half_a_minute() -> None:
    walker = Thing(chain(walk((0.1, 0.8), (0.3, 0.8), 0, 10), walk((0.6, 0.8), (0.8, 0.8), 40, 50)))
    stream = list(frames([PARKED, walker], 50, 5))
    stream = [item for item in stream if not 10 <= (item[0].capture_us - START_US) / 1e6 < 40]
    scenes = track(stream)
    by_label = {
        label: {s.track.key for s in confirmed(scenes) if s.track.label == label}
        for label in ("car", "person")
    }
    assert len(by_label["car"]) == 1
    assert len(by_label["person"]) == 2


@pytest.mark.parametrize("back_s", [0.5, 30, 3600, 1.7e9])
def test_a_clock_that_is_set_back(back_s: float) -> None:
    before = list(frames([PARKED], 20, 5))
    after = [
        (replace(stamp, capture_us=stamp.capture_us - round(back_s * 1e6)), found)
        for stamp, found in frames([PARKED], 20, 5, begin_s=20)
    ]
    scenes = track(before + after)
    assert len(names(scenes)) == 1
    assert all(s.track.first_seen_us <= s.track.last_seen_us for s in confirmed(scenes))
    assert scenes[-1].seen


def test_a_restarted_recording_does_not_merge_tracks() -> None:
    loop = list(frames([Thing(walk((0.2, 0.8), (0.5, 0.8), 0, 10))], 10, 5))
    again = list(frames([Thing(walk((0.5, 0.8), (0.2, 0.8), 0, 10))], 10, 5))
    scenes = track(loop + again)
    assert len(names(scenes)) == 2


def test_keys_of_two_objects_in_one_cell_do_not_depend_on_order() -> None:
    pair = [
        Thing(stand((0.500, 0.50)), width=0.02, height=0.05),
        Thing(stand((0.53, 0.50)), width=0.02, height=0.05),
    ]
    one, other = track(frames(pair, 5, 5)), track(frames(pair[::-1], 5, 5))
    assert len(names(one)) == 2
    assert one == other  # each has the same name in both, not only the two the same names


def test_the_frame_size_may_change() -> None:
    day = list(frames([Thing(WALK), PARKED], 10, 5))
    night = list(frames([Thing(WALK), PARKED], 10, 5, begin_s=10, size=(640, 360)))
    assert len(names(track(day + night))) == 2


@pytest.mark.parametrize("size", [(641, 271), (360, 640), (320, 240), (1, 1)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    scenes = track(frames([Thing(WALK)], 5, 5, size=size))
    assert len(names(scenes)) == 1


def test_invalid_boxes_are_ignored() -> None:
    rows = np.array(
        [
            [100, 100, 200, 200],
            [np.nan, 0, 10, 10],
            [0, 0, np.inf, 10],
            [50, 50, 40, 60],
            [50, 50, 50, 60],
            [1300, 10, 1400, 60],
            [300, 100, 400, 200],
        ],
        dtype=np.float32,
    )
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, np.nan], dtype=np.float32)
    found = Detections(rows, confidence, ("person",) * 7)
    scenes = track([(FrameStamp(START_US + i * 200_000, i, *SIZE), found) for i in range(5)])
    assert [len(scene.seen) for scene in scenes] == [1] * 5


def test_cameras_do_not_share_anything() -> None:
    """Interleaved frames of two cameras give what each gives alone."""
    streams = [
        list(frames([Thing(WALK), PARKED], 10, 5)),
        list(frames([Thing(walk((0.9, 0.7), (0.1, 0.7), 0, 10))], 10, 5)),
    ]
    trackers = [CameraTracker(0.4), CameraTracker(0.4)]
    together: list[list[Scene | None]] = [[], []]
    for pair in zip(*streams, strict=True):
        for camera, item in enumerate(pair):
            together[camera].append(trackers[camera].update(*item))
    assert together[0] == track(streams[0])
    assert together[1] == track(streams[1])


def test_objects_present_at_start_differ_from_new_ones() -> None:
    comes = replace(PARKED, path=stand((0.2, 0.9), 10, 100))
    scenes = track(frames([PARKED, comes, Thing(WALK)], 20, 5))
    assert [seen.present_at_start for seen in scenes[0].seen] == [True, True]
    assert sorted(seen.present_at_start for seen in scenes[-1].seen) == [
        False,
        False,
        True,
    ]  # the walker has moved since


def test_memory_does_not_grow_with_time() -> None:
    """A new walker every 4 s for a quarter of an hour."""

    def endless(t: float) -> tuple[float, float]:
        return (0.05 + 0.2 * (t % 4), 0.5 + 0.1 * (int(t / 4) % 4))

    tracker = CameraTracker(0.4)
    sizes = []
    for stamp, found in frames([Thing(endless), PARKED], 600, 2):
        tracker.update(stamp, found)
        sizes.append(len(tracker.keys))
    assert max(sizes) <= 8
    assert max(sizes[-300:]) <= max(sizes[:300])


messy_rows = st.lists(
    st.tuples(
        st.tuples(*[st.floats(width=32) for _ in range(4)]),
        st.floats(width=32),
        st.sampled_from(["person", "car", "truck", "bicycle", "motorcycle", "☂ a/b-c"]),
    ),
    max_size=6,
)


def detections_of(rows: list[tuple[tuple[float, ...], float, str]]) -> Detections:
    return Detections(
        np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.float32),
        tuple(row[2] for row in rows),
    )


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 10**16), messy_rows), max_size=20))
def test_arbitrary_detections_never_raise(
    stream: list[tuple[int, list[tuple[tuple[float, ...], float, str]]]],
) -> None:
    tracker = CameraTracker(0.1)
    for number, (capture_us, rows) in enumerate(stream):
        scene = tracker.update(FrameStamp(capture_us, number, *SIZE), detections_of(rows))
        if scene is not None:
            assert len({seen.track.key for seen in scene.seen}) == len(scene.seen)
            assert {seen.track.key for seen in scene.seen} <= tracker.keys


plain_boxes = st.tuples(
    st.floats(0, 1100, width=32), st.floats(0, 600, width=32), st.floats(5, 150, width=32)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[2]))
plain_rows = st.lists(
    st.tuples(
        plain_boxes, st.floats(0.125, 1, width=32), st.sampled_from(["person", "car", "bus"])
    ),
    max_size=6,
)


@SLOW_PROPERTY
@given(st.lists(plain_rows, min_size=1, max_size=15), st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(
    stream: list[list[tuple[tuple[float, ...], float, str]]], chance: random.Random
) -> None:
    def scenes(shuffled: bool) -> list[Scene]:
        out = []
        for number, rows in enumerate(stream):
            rows = chance.sample(rows, len(rows)) if shuffled else rows
            out.append(
                (FrameStamp(START_US + number * 200_000, number, *SIZE), detections_of(rows))
            )
        return track(out, 0.2)

    assert scenes(shuffled=True) == scenes(shuffled=False)
