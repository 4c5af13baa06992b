from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.sampling import JUMP_US, FrameSampler, Skip

START_US = 1_700_000_000_000_000


def _frames(fps: float, seconds: float) -> list[int]:
    return [START_US + round(i * 1e6 / fps) for i in range(int(fps * seconds))]


@pytest.mark.parametrize(
    ("camera_fps", "detect_fps"), [(25, 5), (25, 7), (30, 5), (15, 15), (10, 25)]
)
def test_the_wanted_rate_is_kept(camera_fps: float, detect_fps: float) -> None:
    sampler = FrameSampler(detect_fps)
    taken = 0
    for capture_us in _frames(camera_fps, 20):
        if sampler.offer(capture_us):
            taken += 1
            sampler.done()
    assert taken == pytest.approx(20 * min(camera_fps, detect_fps), rel=0.03)


@given(
    st.lists(st.tuples(st.integers(-5_000_000, 5_000_000), st.booleans()), max_size=200),
    st.floats(0.1, 30),
)
def test_every_frame_is_taken_or_counted_and_one_is_in_flight(
    steps: list[tuple[int, bool]], fps: float
) -> None:
    sampler = FrameSampler(fps)
    capture_us, taken, in_flight, last_taken = START_US, 0, False, 0
    for step_us, finish in steps:
        capture_us += step_us
        if sampler.offer(capture_us):
            assert not in_flight
            assert capture_us > last_taken or last_taken - capture_us >= JUMP_US
            in_flight, last_taken = True, capture_us
            taken += 1
        if finish and in_flight:
            sampler.done()
            in_flight = False
    assert taken + sum(sampler.skipped.values()) == len(steps)


def test_a_slow_detector_lowers_the_rate_and_says_so() -> None:
    sampler = FrameSampler(5)
    assert sampler.offer(START_US)
    assert not sampler.offer(START_US + 200_000)
    assert sampler.skipped == {Skip.BUSY: 1}
    sampler.done()
    assert sampler.offer(START_US + 240_000)


def test_frames_without_or_with_old_capture_time_are_not_analysed() -> None:
    sampler = FrameSampler(5)
    assert not sampler.offer(0)
    assert sampler.offer(START_US)
    sampler.done()
    assert not sampler.offer(START_US - 40_000)
    assert sampler.skipped == {Skip.UNSTAMPED: 1, Skip.OLD: 1}


def test_a_clock_that_was_set_back_does_not_blind_the_camera() -> None:
    sampler = FrameSampler(5)
    assert sampler.offer(START_US)
    sampler.done()
    assert sampler.offer(START_US - JUMP_US)


def test_a_new_rate_takes_effect_at_once() -> None:
    sampler = FrameSampler(0.1)
    assert sampler.offer(START_US)
    sampler.done()
    sampler.set_fps(10)
    assert sampler.offer(START_US + 40_000)
