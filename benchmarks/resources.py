"""CPU time and memory of each part, in total and per added camera."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

PARTS = {
    "bridge": "BridgeActor",
    "agent host": "HostActor",
    "SFU": "livekit-server",
    "gateway": "go2rtc",
    "relay": "cluster.relay",
    "detector": "ServeReplica:atalaia:Detector",
}
PER_CAMERA = ("bridge", "agent host", "SFU", "gateway", "relay")
"""Parts whose cost grows with the cameras. The detector's grows with the analysed frames."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time in per cent of one core, resident memory in MB."""

    cpu_percent: float
    rss_mb: float


async def watch(seconds: float) -> dict[str, Usage]:
    """Usage per part over the next `seconds`."""
    processes = {part: _find(mark) for part, mark in PARTS.items()}
    before = {part: _cpu_s(found) for part, found in processes.items()}
    await asyncio.sleep(seconds)
    return {
        part: Usage(
            (_cpu_s(found) - before[part]) / seconds * 100,
            sum(process.memory_info().rss for process in found) / MB,
        )
        for part, found in processes.items()
    }


def per_added_camera(few: dict[str, Usage], many: dict[str, Usage], added: int) -> dict[str, Usage]:
    """The difference per added camera. `all` is the sum of the parts."""
    each = {
        part: Usage(
            (many[part].cpu_percent - few[part].cpu_percent) / added,
            (many[part].rss_mb - few[part].rss_mb) / added,
        )
        for part in PER_CAMERA
    }
    each["all"] = Usage(
        sum(u.cpu_percent for u in each.values()), sum(u.rss_mb for u in each.values())
    )
    return each


def _find(mark: str) -> list[psutil.Process]:
    """The running processes whose name or command line contains `mark`.

    Raises:
        RuntimeError: there is none.
    """
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = [process.info["name"] or "", *(process.info["cmdline"] or [])]
        if any(mark in word for word in words[:4]) and "subreaper" not in " ".join(words):
            found.append(process)
    if not found:
        raise RuntimeError(f"no process matches {mark}; its name may have changed")
    return found


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    return sum(p.cpu_times().user + p.cpu_times().system for p in processes)
