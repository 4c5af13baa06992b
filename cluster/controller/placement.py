"""Assigns cameras to bridges. Pure; cameras move only when necessary."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil

from pipelines.domain import CameraKey


def place(
    cameras: Iterable[CameraKey],
    current: Mapping[CameraKey, int],
    usable: Collection[int],
    capacity: int,
) -> dict[CameraKey, int]:
    """Map cameras to usable bridges, with at most `capacity` per bridge.

    A camera stays where it is as long as that bridge is usable. Others go to the bridge with most
    cameras that has room, so that spare bridges stay empty. Those for whom there is no room are
    left out.
    """
    wanted = sorted(cameras)
    load = dict.fromkeys(sorted(usable), 0)
    placed: dict[CameraKey, int] = {}

    def put(key: CameraKey, index: int) -> None:
        placed[key] = index
        load[index] += 1

    for key in wanted:
        index = current.get(key)
        if index is not None and load.get(index, capacity) < capacity:
            put(key, index)
    for key in wanted:
        if key in placed:
            continue
        room = [index for index, carried in load.items() if carried < capacity]
        if not room:
            break
        put(key, max(room, key=load.__getitem__))
    return placed


def workers_for(cameras: int, capacity: int) -> int:
    """Workers needed for that many cameras; at least one, so the first camera starts faster."""
    return max(1, ceil(cameras / capacity))
