"""Which times a camera's segments cover, and where they leave gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from pipelines.domain import Segment

# A camera that plays sends pictures many times a second, and a segment ends where the picture that
# follows its last one is expected: what is missing for less than this is jitter.
GAP_US = 500_000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, UTC microseconds; `to_us` is exclusive."""

    from_us: int
    to_us: int


class Timed(Protocol):
    @property
    def start_us(self) -> int: ...


_T = TypeVar("_T", bound=Timed)


def needed_from(segments: Sequence[_T], from_us: int) -> list[_T]:
    """Segments in order without those that lie before the key frame at or before `from_us`: every
    segment starts with one."""
    starts = [n for n, segment in enumerate(segments) if segment.start_us <= from_us]
    return list(segments[starts[-1] if starts else 0 :])


def covered(segments: Iterable[Segment]) -> list[Span]:
    """The stretches that segments of one camera cover, oldest first; jitter between them is none.

    Args:
        segments: in any order; they may overlap.
    """
    spans: list[Span] = []
    for segment in sorted(segments, key=lambda s: s.start_us):
        if spans and segment.start_us - spans[-1].to_us <= GAP_US:
            spans[-1] = Span(spans[-1].from_us, max(spans[-1].to_us, segment.end_us))
        else:
            spans.append(Span(segment.start_us, segment.end_us))
    return spans


def gaps_within(spans: list[Span]) -> list[Span]:
    """What lies between the stretches that `covered` gives."""
    return [Span(before.to_us, after.from_us) for before, after in pairwise(spans)]
