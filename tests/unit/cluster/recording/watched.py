"""A recorder that a test can wait for without polling it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cluster.recording.recorder import Recorder

TIMEOUT_S = 20.0


class WatchedRecorder(Recorder):
    """Wakes whoever waits in `until` after every step of its thread."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stepped = threading.Condition()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition()`, which only steps of the thread make true; fails when late."""
        with self._stepped:
            assert self._stepped.wait_for(condition, TIMEOUT_S)

    def _guarded(self, step: Callable[[], None]) -> None:
        super()._guarded(step)
        with self._stepped:
            self._stepped.notify_all()
