from __future__ import annotations

import pytest

from cluster.clips.coverage import GAP_US, Span, covered, gaps_between, segments_from
from pipelines.domain import Segment


def segment(start_us: int, end_us: int) -> Segment:
    return Segment(
        camera="gate",
        start_us=start_us,
        end_us=end_us,
        origin_us=start_us,
        codec="h264",
        width=64,
        height=48,
        frames=1,
        size=1,
        sha256="0" * 64,
        blob="a",
    )


S = 1_000_000


@pytest.mark.parametrize(
    ("from_us", "needed"),
    [(-1, [0, 10, 20]), (0, [0, 10, 20]), (9, [0, 10, 20]), (10, [10, 20]), (99, [20])],
)
def test_needed_segments_begin_with_the_one_that_holds_the_start(
    from_us: int, needed: list[int]
) -> None:
    found = segments_from([segment(at, at + 10) for at in (0, 10, 20)], from_us)
    assert [s.start_us for s in found] == needed
    assert segments_from([], 0) == []


@pytest.mark.parametrize(
    ("segments", "spans", "gaps"),
    [
        ([], [], []),
        ([(0, 10)], [(0, 10)], []),
        ([(0, 10 * S), (10 * S, 20 * S)], [(0, 20 * S)], []),
        # Up to half a second is jitter, not a gap.
        ([(0, 10 * S), (10 * S + GAP_US, 20 * S)], [(0, 20 * S)], []),
        (
            [(0, 10 * S), (10 * S + GAP_US + 1, 20 * S)],
            [(0, 10 * S), (10 * S + GAP_US + 1, 20 * S)],
            [(10 * S, 10 * S + GAP_US + 1)],
        ),
        # Overlapping, nested, and unordered.
        ([(5 * S, 20 * S), (0, 10 * S)], [(0, 20 * S)], []),
        ([(0, 30 * S), (5 * S, 10 * S), (29 * S, 31 * S)], [(0, 31 * S)], []),
    ],
)
def test_covered_spans_and_gaps(
    segments: list[tuple[int, int]], spans: list[tuple[int, int]], gaps: list[tuple[int, int]]
) -> None:
    found = covered(segment(*ends) for ends in segments)
    assert found == [Span(*ends) for ends in spans]
    assert gaps_between(found) == [Span(*ends) for ends in gaps]
