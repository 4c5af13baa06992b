"""Settings of this folder's property tests: repeatable, and quick on a busy machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
SLOW_PROPERTY = settings(PROPERTY, max_examples=8)
