"""Readings of a running Atalaia, part by part, as an operator could take them."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import psutil

TITLES = {
    "ray::BridgeActor": "bridge",
    "ray::HostActor": "host",
    "ray::ControllerService": "controller",
    "ray::ListenerService": "listener",
    "ray::ServeReplica:atalaia:Api": "api",
    "ray::ServeReplica:atalaia:Detector": "detector",
    "ray::ServeReplica:atalaia:Embedder": "embedder",
    "ray::ServeReplica:atalaia:Memory": "memory",
    "ray::ProxyActor": "proxy",
    "ray::ServeController": "serve",
}
SERVERS = ("livekit-server", "go2rtc", "valkey-server", "redis-server", "raylet", "gcs_server")
OTHERS = "others"
UNITS = {"memory": "MB", "descriptors": "", "threads": "", "disk": "MB"}
"""Each figure and its unit."""
MB = 1e6


def part_of(command: str) -> str:
    """The part that a process is, by its command line."""
    for title, part in TITLES.items():
        if command.startswith(title):
            return part
    program = Path(command.split(" ", 1)[0]).name
    if program in SERVERS:
        return program
    return "relay" if "cluster.relay" in command else OTHERS


def of_processes(root: psutil.Process) -> dict[tuple[str, str], float]:
    """(part, figure) → sum over the part's processes. `memory` is what a process has for itself
    (USS), so that shared libraries do not count for each.

    Args:
        root: it and all below it are read; a process that ends meanwhile is left out.
    """
    found: dict[tuple[str, str], float] = defaultdict(float)
    for process in (root, *root.children(recursive=True)):
        try:
            part = part_of(" ".join(process.cmdline()))
            figures = {
                "memory": process.memory_full_info().uss / MB,
                "descriptors": float(process.num_fds()),
                "threads": float(process.num_threads()),
            }
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        for figure, value in figures.items():
            found[part, figure] += value
    return found


def of_disk(folder: Path) -> float:
    """MB in files below a folder."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(base) / name).lstat().st_size
            except FileNotFoundError:
                continue  # removed meanwhile
    return total / MB
