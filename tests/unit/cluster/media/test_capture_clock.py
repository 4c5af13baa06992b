"""Capture times under every kind of camera clock seen in the field (FIELD 7)."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.media.capture_clock import (
    CATCH_UP_SLEW,
    MIN_STEP_US,
    SLEW,
    CaptureClock,
    CaptureStamp,
    ClockEventKind,
    pts_seconds,
)

UTC0_US = 1_700_000_000_000_000
FPS = 25.0


def run(
    frames: Iterable[tuple[float | None, float]], clock: CaptureClock | None = None
) -> list[CaptureStamp]:
    """Stamps of (pts, arrival) frames; arrivals are monotonic seconds, in step with UTC."""
    clock = clock or CaptureClock()
    return [clock.stamp(pts, UTC0_US + round(arrival * 1e6), arrival) for pts, arrival in frames]


def camera(
    seconds: float,
    *,
    seed: int = 0,
    delay_s: float = 0.05,
    jitter_s: float = 0.0,
    drift: float = 0.0,
    origin_s: float = 0.0,
    start_s: float = 0.0,
) -> Iterator[tuple[float, float, float]]:
    """(true capture, pts, arrival) of a camera whose clock runs at 1 + drift."""
    rng = random.Random(seed)
    last = 0.0
    for n in range(int(seconds * FPS)):
        true = start_s + n / FPS
        arrival = max(last, true + delay_s + rng.random() * jitter_s)
        last = arrival
        yield true, origin_s + (true - start_s) * (1 + drift), arrival


def errors_ms(
    frames: list[tuple[float, float, float]], stamps: list[CaptureStamp], delay_s: float = 0.05
) -> list[float]:
    """Stamped minus true capture time, without the constant delay, in ms."""
    return [
        (stamp.capture_us - UTC0_US) / 1e3 - (true + delay_s) * 1e3
        for (true, _, _), stamp in zip(frames, stamps, strict=True)
    ]


def kinds(stamps: Iterable[CaptureStamp]) -> list[ClockEventKind]:
    return [event.kind for stamp in stamps for event in stamp.events]


def grows(stamps: list[CaptureStamp]) -> bool:
    return all(
        b.capture_us > a.capture_us and b.timestamp_us >= a.timestamp_us + MIN_STEP_US
        for a, b in itertools.pairwise(stamps)
    )


garbage = st.one_of(
    st.none(),
    st.floats(),
    st.floats(-10, 10),
    st.sampled_from([0.0, -1.0, 1e9, 95443.7, math.inf, math.nan, 2.0**62]),
)


@given(st.lists(st.tuples(garbage, st.floats(-1, 30), st.integers(-(10**13), 10**13)), max_size=80))
@example([(1.0, 0.0, 0), (1.0, 0.0, 0), (1.0, 0.0, 0)])
@example([(None, 0.0, 0), (None, -1.0, 0), (5.0, 0.0, -(10**9))])
def test_whatever_comes_it_never_raises_nor_goes_back(
    sequence: list[tuple[float | None, float, int]],
) -> None:
    clock, arrival, stamps = CaptureClock(), 1000.0, []
    for pts, step, utc in sequence:
        arrival += step
        stamps.append(clock.stamp(pts, UTC0_US + utc, arrival))
    assert grows(stamps)


@given(
    jitter_s=st.floats(0, 0.2),
    drift=st.floats(-200e-6, 200e-6),
    origin_s=st.floats(-1e6, 1e9),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_true_capture_within_a_few_milliseconds(
    jitter_s: float, drift: float, origin_s: float, seed: int
) -> None:
    frames = list(camera(40, seed=seed, jitter_s=jitter_s, drift=drift, origin_s=origin_s))
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert grows(stamps)
    # No more than the least delay of the worst window, and what drifts and bends meanwhile.
    checked = errors_ms(frames, stamps)[15 * int(FPS) :]
    lateness = [(arrival - true - 0.05) * 1e3 for true, _, arrival in frames]
    window = 10 * int(FPS)
    worst = max(min(lateness[n - window : n + 1]) for n in range(15 * int(FPS), len(frames), 5))
    assert -4 <= min(checked)
    assert max(checked) <= worst + 4


@given(jitter_s=st.floats(0, 0.3), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_spacing_is_that_of_the_pts_not_of_the_network(jitter_s: float, seed: int) -> None:
    frames = list(camera(30, seed=seed, jitter_s=jitter_s))
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    settled = stamps[int(3 * FPS) :]
    for a, b in itertools.pairwise(settled):
        spacing_us = b.timestamp_us - a.timestamp_us
        assert 40_000 * (1 - CATCH_UP_SLEW) - 2 <= spacing_us <= 40_000 * (1 + SLEW) + 2
        assert abs((b.capture_us - a.capture_us) - spacing_us) <= 2


@pytest.mark.parametrize("drift", [-0.015, -0.01, 0.005, 0.01, 0.015])
def test_a_badly_wrong_clock_is_followed(drift: float) -> None:
    frames = list(camera(120, jitter_s=0.03, drift=drift))
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert grows(stamps)
    # A slow clock's least delay is up to a window (10 s) old: that much is the price.
    late = errors_ms(frames, stamps)[30 * int(FPS) :]
    assert max(abs(e) for e in late) <= 10_000 * abs(drift) + 20
    assert ClockEventKind.DRIFT_CORRECTED in kinds(stamps)
    assert ClockEventKind.JUMPED not in kinds(stamps)


@pytest.mark.parametrize("burst_s", [0.5, 1.0, 2.0, 4.0])
def test_a_burst_at_connect_does_not_bias(burst_s: float) -> None:
    frames = []
    for true, pts, arrival in camera(20, jitter_s=0.01):
        frames.append((true, pts, max(arrival, burst_s + 0.05)))
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert grows(stamps)
    after = errors_ms(frames, stamps)[int((burst_s + 0.5) * FPS) :]
    assert max(abs(e) for e in after) <= 15
    assert kinds(stamps) == [ClockEventKind.ANCHORED]


def test_a_stall_of_the_network_moves_nothing() -> None:
    frames = []
    for true, pts, arrival in camera(40):
        held = 20.0 <= true < 23.0
        frames.append((true, pts, max(arrival, 23.05) if held else arrival))
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert kinds(stamps) == [ClockEventKind.ANCHORED]
    assert max(abs(e) for e in errors_ms(frames, stamps)) < 0.01


@pytest.mark.parametrize("origin_s", [0.0, -3600.0, 7200.0, 95_443.7, 1.7e9])
def test_hours_off_does_not_matter(origin_s: float) -> None:
    frames = list(camera(5, origin_s=origin_s))
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert max(abs(e) for e in errors_ms(frames, stamps)) < 0.01


@pytest.mark.parametrize("new_origin_s", [0.0, 4.0, 3600.0, -50_000.0])
@pytest.mark.parametrize("gap_s", [0.0, 0.5, 30.0])
def test_reset_after_reconnect_is_anchored_anew(new_origin_s: float, gap_s: float) -> None:
    first = list(camera(12, origin_s=500))
    start = 12 + gap_s
    second = list(camera(12, origin_s=new_origin_s, start_s=start, seed=1))
    frames = first + second
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert grows(stamps)
    assert len(kinds(stamps)) == 2
    assert max(abs(e) for e in errors_ms(frames, stamps)) < 2


def test_a_pts_that_stood_still_while_disconnected_is_anchored_when_told() -> None:
    clock = CaptureClock()
    first, second = list(camera(12)), list(camera(12, origin_s=12, start_s=17))
    stamps = run(((pts, arrival) for _, pts, arrival in first), clock)
    clock.reconnected()
    stamps += run(((pts, arrival) for _, pts, arrival in second), clock)
    assert grows(stamps)
    assert kinds(stamps) == [ClockEventKind.ANCHORED] * 2
    assert max(abs(e) for e in errors_ms(first + second, stamps)) < 1


@pytest.mark.parametrize("jump_s", [-3600.0, -5.0, -0.5, 1.0, 5.0, 86_400.0])
def test_a_jump_in_the_middle(jump_s: float) -> None:
    frames = [
        (true, pts + (jump_s if true >= 15 else 0), arrival) for true, pts, arrival in camera(30)
    ]
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert grows(stamps)
    assert kinds(stamps) == [ClockEventKind.ANCHORED, ClockEventKind.JUMPED]
    [event] = [event for stamp in stamps[1:] for event in stamp.events]
    assert event.shift_us == pytest.approx(-jump_s * 1e6, abs=10)
    assert max(abs(e) for e in errors_ms(frames, stamps)) < 2


def test_a_permanent_increase_in_delay_is_detected() -> None:
    frames = [
        (true, pts, arrival + (3.0 if true >= 20 else 0.0)) for true, pts, arrival in camera(60)
    ]
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert grows(stamps)
    assert ClockEventKind.LAGGED in kinds(stamps)
    late = errors_ms(frames, stamps, delay_s=3.05)[35 * int(FPS) :]
    assert max(abs(e) for e in late) < 2


@pytest.mark.parametrize("stuck", [None, 7.0])
def test_useless_pts_falls_back_to_arrivals(stuck: float | None) -> None:
    frames = [(true, stuck, arrival) for true, _, arrival in camera(20)]
    stamps = run((pts, arrival) for _, pts, arrival in frames)
    assert grows(stamps)
    spacings = [b.timestamp_us - a.timestamp_us for a, b in itertools.pairwise(stamps)]
    assert spacings == pytest.approx([40_000] * len(spacings), abs=2)


def test_a_single_missing_or_repeated_pts_disturbs_nothing() -> None:
    frames = list(camera(20))
    spoiled: list[tuple[float | None, float]] = [(pts, arrival) for _, pts, arrival in frames]
    spoiled[100] = (None, spoiled[100][1])
    spoiled[200] = (spoiled[199][0], spoiled[200][1])
    stamps = run(spoiled)
    assert grows(stamps)
    assert max(abs(e) for e in errors_ms(frames, stamps)) < 1


@pytest.mark.parametrize("step_s", [-3600.0, -0.4, 0.4, 3600.0])
def test_utc_that_is_set_never_turns_capture_times_back(step_s: float) -> None:
    clock, stamps, apart = CaptureClock(), [], 0.0
    for true, pts, arrival in camera(60):
        utc_us = UTC0_US + round((arrival + (step_s if true >= 10 else 0)) * 1e6)
        stamps.append(clock.stamp(pts, utc_us, arrival))
        apart = (stamps[-1].capture_us - utc_us) / 1e6
    assert grows(stamps)
    assert (ClockEventKind.WALL_STEPPED in kinds(stamps)) == (step_s > 1)
    if step_s > -1:
        assert apart == pytest.approx(0, abs=0.001)
    # RTP does not care what time it is.
    spacings = {b.timestamp_us - a.timestamp_us for a, b in itertools.pairwise(stamps)}
    assert max(spacings) - min(spacings) <= 2


def test_pts_seconds() -> None:
    assert pts_seconds(90_000, Fraction(1, 90_000)) == 1.0
    assert pts_seconds(None, Fraction(1, 90_000)) is None
    assert pts_seconds(1, None) is None
    assert pts_seconds(1, Fraction(0)) is None
    assert pts_seconds(-(2**63), Fraction(1)) is None
