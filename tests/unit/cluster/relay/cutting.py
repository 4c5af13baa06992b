"""Byte streams split into pieces, as from a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Feeder(Protocol[T_co]):
    def feed(self, data: bytes) -> Iterator[T_co]: ...


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data`, split at arbitrary positions."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def fed(feeder: Feeder[T], data: Iterable[bytes]) -> list[T]:
    """Everything that comes out."""
    return [out for piece in data for out in feeder.feed(piece)]
