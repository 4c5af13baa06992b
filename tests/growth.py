"""Whether a function's time grows with the length of its input, and not faster."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMES = 8
# Linear is 8, quadratic 64; the rest is room for caches and for a busy machine.
ALLOWED = 10
# One undisturbed pair of runs is enough, and a quadratic function has none.
ROUNDS = 20
# Of the shorter input, in one measurement: well above the clock's grain and a call's own cost.
BASE_S = 0.000_2


def spent_s(work: Callable[[], object]) -> float:
    """CPU seconds of this thread: what else the machine does is not in them."""
    begin = time.thread_time()
    work()
    return time.thread_time() - begin


def assert_linear(work: Callable[[str], object], make: Callable[[int], str], size: int) -> None:
    """`work` on an input of `TIMES` times `size` characters takes at most `ALLOWED` times as long.

    Args:
        make: the input of a given length.
    """
    short, long = make(size), make(size * TIMES)
    repeats = 1 + min(int(BASE_S / max(spent_s(lambda: work(short)), 1e-9)), 1_000)

    def short_ones() -> None:
        for _ in range(repeats):
            work(short)

    ratio = float("inf")
    for _ in range(ROUNDS):
        short_s = spent_s(short_ones) / repeats
        ratio = min(ratio, spent_s(lambda: work(long)) / short_s)
        if ratio <= ALLOWED:
            return
    raise AssertionError(
        f"{size * TIMES} characters take {ratio:.1f} times as long as {size}: {short[:40]!r}"
    )
