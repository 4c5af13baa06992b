from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import CameraKey
from pipelines.sampling import JUMP_US, NEAR_RATE, FrameSampler, Skip, grid_phase

START_US = 1_700_000_000_000_000


def _frames(fps: float, seconds: float) -> list[int]:
    return [START_US + round(i * 1e6 / fps) for i in range(int(fps * seconds))]


@pytest.mark.parametrize(
    ("camera_fps", "detect_fps"), [(25, 5), (25, 7), (30, 5), (15, 15), (10, 25), (30, 29)]
)
def test_the_wanted_rate_is_kept(camera_fps: float, detect_fps: float) -> None:
    sampler = FrameSampler(detect_fps)
    taken = 0
    for capture_us in _frames(camera_fps, 20):
        if sampler.offer(capture_us):
            taken += 1
            sampler.done()
    wanted = camera_fps if camera_fps <= NEAR_RATE * detect_fps else detect_fps
    assert taken == pytest.approx(20 * wanted, rel=0.03)


@given(
    st.integers(0, 10**12),
    st.floats(1, 60),
    st.floats(0.1, 30),
    st.lists(st.integers(-5_000, 5_000), min_size=80, max_size=80),
    st.integers(0, 40),
)
def test_a_late_joiner_analyses_the_same_frames(
    phase_us: int, camera_fps: float, detect_fps: float, jitter: list[int], joined: int
) -> None:
    """A live watcher and a job over the recording: from their second common frame on."""
    times = [
        START_US + phase_us + round(i * 1e6 / camera_fps) + shift for i, shift in enumerate(jitter)
    ]
    first, second = _taken(times, detect_fps), _taken(times[joined:], detect_fps)
    period_us = 1e6 / detect_fps
    settled = times[joined] + period_us
    assert [t for t in first if t > settled] == [t for t in second if t > settled]


def _taken(times: list[int], fps: float) -> list[int]:
    sampler = FrameSampler(fps)
    taken = []
    for capture_us in times:
        if sampler.offer(capture_us):
            taken.append(capture_us)
            sampler.done()
    return taken


def test_cameras_are_sampled_at_different_moments() -> None:
    """At no moment of the period are there many more than their share of 1,000 cameras."""
    phases = [grid_phase(CameraKey("acme", f"cam-{n}")) for n in range(1_000)]
    tenths = Counter(int(phase * 10) for phase in phases)
    # Binomial: 100 a tenth, deviation 9.5.
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 140


@given(st.floats(0, 1, exclude_max=True), st.floats(0.1, 30))
def test_the_phase_is_where_the_cells_begin(phase: float, fps: float) -> None:
    period_us = round(1e6 / fps)
    border_us = START_US // period_us * period_us + round(phase * period_us)
    sampler = FrameSampler(fps, phase)
    taken = []
    for capture_us in (border_us - 2, border_us - 1, border_us, border_us + 1):
        if sampler.offer(capture_us):
            taken.append(capture_us)
            sampler.done()
    assert taken == [border_us - 2, border_us]


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


def test_a_clock_set_back_does_not_stop_sampling() -> None:
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
