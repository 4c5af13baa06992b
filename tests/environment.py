"""The environment of the test process, and its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment_kept() -> Iterator[None]:
    """Whatever is set or removed within the block is as before after it."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def end_at_once(status: int) -> None:
    """End this process without tearing the interpreter down, once all is said.

    The native libraries of several servers' clients in one process (LiveKit, Ray, OpenVINO, Qdrant)
    have threads that outlive it, and one run in many ended with a segmentation fault after its last
    line. Programs of ours load fewer of them: the end-to-end tests look at how those end.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
