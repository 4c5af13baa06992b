"""Which camera belongs to which bridge. Pure; cameras move only when they must."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil

from pipelines.domain import CameraKey


def place(
    cameras: Iterable[CameraKey], current: Mapping[CameraKey, int], capacity: int
) -> dict[CameraKey, int]:
    """Camera to bridge index, at most `capacity` on each, with as few bridges as hold them all.

    A camera stays where it is as long as that bridge is still wanted; new ones go to the emptiest.
    """
    wanted = sorted(cameras)
    bridges = workers_for(len(wanted), capacity)
    load = [0] * bridges
    placed: dict[CameraKey, int] = {}
    for key in wanted:
        index = current.get(key)
        if index is not None and index < bridges and load[index] < capacity:
            placed[key] = index
            load[index] += 1
    for key in wanted:
        if key not in placed:
            index = min(range(bridges), key=load.__getitem__)
            placed[key] = index
            load[index] += 1
    return placed


def workers_for(cameras: int, capacity: int) -> int:
    """How many workers carry that many cameras; at least one: the first camera waits less."""
    return max(1, ceil(cameras / capacity))
