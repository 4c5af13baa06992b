"""Ports for the servers that tests start.

They come from below the range out of which the system numbers connections: a port of that range
may be taken by a connection between the moment it was found free and the moment a server listens.
Each process of the suite has a block of its own, so that two that run side by side never choose the
same.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from typing import Literal

from cluster.local.ports import is_free

FIRST = 10_000
BLOCK = 1_400
BLOCKS = 16
"""The last block ends at 32,400; Linux numbers connections from 32,768."""


def _block(worker: str) -> Iterator[int]:
    """The ports of a process of pytest-xdist (`gw0`, `gw1`, …) or of the only one, round and round.

    It begins anywhere in the block: another run of the suite may be going on.
    """
    first = FIRST + BLOCK * (int(worker.removeprefix("gw") or 0) % BLOCKS)
    begin = random.randrange(BLOCK)
    return itertools.cycle(first + (begin + step) % BLOCK for step in range(BLOCK))


_ports = _block(os.environ.get("PYTEST_XDIST_WORKER", "gw"))


def free_port(kind: Literal["tcp", "udp"] = "tcp") -> int:
    """A port on loopback on which nobody listens, and that is given to nobody else for long."""
    for port in itertools.islice(_ports, BLOCK):
        if is_free("127.0.0.1", port, kind):
            return port
    raise AssertionError(f"no free {kind} port in this process's block")
