"""Hits that are close enough make an object; hits by chance do not."""

from __future__ import annotations

import pytest

from pipelines.confirmation import HitRun


def confirmed_at(frames: list[int], fps: float) -> int | None:
    """The frame at which these hits make an object; None: they do not."""
    run = HitRun()
    for frame in frames:
        at_us = round(frame / fps * 1e6)
        run.found(frame, at_us)
        if run.confirms(at_us):
            return frame
    return None


@pytest.mark.parametrize(
    ("frames", "fps", "expected"),
    [
        ([1, 2, 3, 4], 5, 3),  # three hits, 0.4 s
        ([1, 2, 3, 4, 5, 6], 10, 4),  # 0.3 s
        ([1, 2], 1, 2),  # two hits, 1 s
        ([1, 2], 2, None),  # 0.5 s
        ([1, 3], 2, 3),  # 1 s, two of three frames
        ([1, 4], 2, None),  # two of four: a new run begins at the last
        ([1, 4, 5, 6], 2, 6),
        ([1, 2, 5], 5, 5),  # three of five
        ([1, 2, 6], 5, None),  # three of six
        ([1, 9, 17, 25, 33], 5, None),  # never in sight for long
        ([1, 9, 10, 11], 5, 11),
    ],
)
def test_a_run_of_hits(frames: list[int], fps: float, expected: int | None) -> None:
    assert confirmed_at(frames, fps) == expected
