"""Which time spans a camera's segments cover, and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from pipelines.domain import Segment

# A running camera sends several frames per second, and a segment ends where its next frame is
# expected. A shorter gap is jitter.
GAP_US = 500_000


@dataclass(frozen=True, slots=True)
class Span:
    """A time span, UTC microseconds. `to_us` is exclusive."""

    from_us: int
    to_us: int


class Timed(Protocol):
    """Anything with a start time."""

    @property
    def start_us(self) -> int:
        """UTC microseconds."""
        ...


_T = TypeVar("_T", bound=Timed)


def segments_from(segments: Sequence[_T], from_us: int) -> list[_T]:
    """The segments needed to start at `from_us`: earlier ones are left out, except the one whose
    key frame comes last before `from_us`. Every segment starts with a key frame.

    Args:
        segments: in time order.
        from_us: UTC microseconds.
    """
    starts = [n for n, segment in enumerate(segments) if segment.start_us <= from_us]
    return list(segments[starts[-1] if starts else 0 :])


def covered(segments: Iterable[Segment]) -> list[Span]:
    """The spans that segments of one camera cover, oldest first. Jitter between them is no gap.

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


def gaps_between(spans: list[Span]) -> list[Span]:
    """The gaps between the spans of `covered`."""
    return [Span(before.to_us, after.from_us) for before, after in pairwise(spans)]
