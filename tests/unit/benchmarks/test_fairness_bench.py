"""A lone camera beside fifty and a flood, in virtual time: the aims of the benchmark hold."""

from __future__ import annotations

import pytest

from benchmarks.fairness import FRAMES_PER_S, LONE_FPS, simulate
from cluster.core.settings import DetectorSettings

SECONDS = 20.0


def test_a_lone_camera_keeps_its_rate_and_nearly_its_latency() -> None:
    result = simulate(DetectorSettings(), SECONDS)
    alone, shared, one_queue = result.alone.lone, result.fair.lone, result.one_queue.lone
    assert alone.rate(SECONDS) == pytest.approx(LONE_FPS, rel=0.02)
    assert shared.rate(SECONDS) >= 0.9 * alone.rate(SECONDS)
    assert shared.p95_ms <= 1.5 * alone.p95_ms
    assert one_queue.rate(SECONDS) < 0.3 * alone.rate(SECONDS)
    # Nothing of the detector's time is lost by it, and the flood has one call in 21.
    run = result.fair
    rates = [share.rate(SECONDS) for share in (run.lone, run.busy, run.flood)]
    assert sum(rates) == pytest.approx(FRAMES_PER_S, rel=0.03)
    assert rates[2] == pytest.approx(FRAMES_PER_S / 21, rel=0.1)


def test_frames_that_would_come_too_late_are_dropped_at_no_cost() -> None:
    result = simulate(DetectorSettings(max_wait_ms=400), SECONDS)
    run = result.fair
    together = sum(share.rate(SECONDS) for share in (run.lone, run.busy, run.flood))
    assert run.busy.refused > 0
    assert max(run.busy.took_ms) <= 400 + 2 * 3 / FRAMES_PER_S * 1e3
    assert run.lone.refused == 0
    assert together == pytest.approx(FRAMES_PER_S, rel=0.03)
