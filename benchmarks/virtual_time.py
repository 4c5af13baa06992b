"""An event loop whose time jumps to the next timer, so that minutes take seconds and do not depend
on what else the machine does. What a thread would do for a fixed time is slept instead."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any


class _Jumping(selectors.BaseSelector):
    """Never waits for a timer: it moves the time there."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        self._real = selectors.DefaultSelector()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Without a timer there is something real to wait for, like a thread that ends.
        ready = self._real.select(None if timeout is None else 0)
        if not ready and timeout:
            self._jump(timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs on virtual time, seconds from 0.

    Args:
        call_s: how long the next call in an executor of its own takes, virtual seconds. Its result
            is computed at the end of that time, on the loop.
    """

    def __init__(self, call_s: Callable[[], float]) -> None:
        self._now_s = 0.0
        self._call_s = call_s
        super().__init__(_Jumping(self._advance))

    def time(self) -> float:
        return self._now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        if executor is None:
            return super().run_in_executor(None, func, *args)
        return self.create_task(self._call(func, *args))

    async def _call(self, func: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(self._call_s())
        return func(*args)

    def _advance(self, seconds: float) -> None:
        self._now_s += seconds
