"""Assigns cameras to bridges. Pure; cameras move only when necessary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil

from pipelines.domain import CameraKey


def place(
    cameras: Iterable[CameraKey], current: Mapping[CameraKey, int], capacity: int
) -> dict[CameraKey, int]:
    """Map each camera to a bridge index, with at most `capacity` per bridge and as few bridges as
    possible.

    A camera keeps its bridge as long as that bridge is still needed; new ones go to the least
    loaded.
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
    """Workers needed for that many cameras; at least one, so the first camera starts faster."""
    return max(1, ceil(cameras / capacity))
