"""What was looked up a moment ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from pipelines.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ShortMemory(Generic[K, V]):
    """Values by key, each for `ttl_s`; beyond `size` the one that was used least recently goes."""

    def __init__(self, clock: Clock, ttl_s: float, size: int) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._size = size
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value that was kept within the last `ttl_s`; None: none was."""
        kept = self._kept.get(key)
        if kept is None or self._clock.monotonic() >= kept[1]:
            return None
        self._kept.move_to_end(key)
        return kept[0]

    def keep(self, key: K, value: V) -> None:
        """Keep a value, in the place of an earlier one."""
        self._kept[key] = (value, self._clock.monotonic() + self._ttl_s)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def forget(self, key: K) -> None:
        """Again changes nothing."""
        self._kept.pop(key, None)
