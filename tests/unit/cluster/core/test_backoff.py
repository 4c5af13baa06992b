from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.backoff import Backoff


@given(seed=st.integers(), initial=st.floats(0.01, 5), factor=st.floats(1, 100))
def test_delays_grow_to_the_cap_and_never_pass_it(seed: int, initial: float, factor: float) -> None:
    cap = initial * factor
    backoff = Backoff(initial, cap, random.Random(seed))
    delays = [backoff.next_delay_s() for _ in range(40)]
    for n, delay in enumerate(delays):
        ceiling = min(cap, initial * 2**n)
        assert ceiling / 2 <= delay <= ceiling
    assert delays[-1] >= cap / 2


def test_reset_starts_over() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(1))
    for _ in range(10):
        backoff.next_delay_s()
    backoff.reset()
    assert backoff.next_delay_s() <= 1.0


def test_two_cameras_do_not_retry_in_step() -> None:
    delays = {Backoff(1.0, 60.0, random.Random(seed)).next_delay_s() for seed in range(100)}
    assert len(delays) == 100


@pytest.mark.parametrize(("initial", "cap"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_invalid_bounds_are_rejected(initial: float, cap: float) -> None:
    with pytest.raises(ValueError, match="initial"):
        Backoff(initial, cap)
