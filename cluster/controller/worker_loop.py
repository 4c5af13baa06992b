"""One worker's loop: asks it again and again, and keeps what it said last and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cluster.controller.health import Health, WorkerEvent, advance
from cluster.core.aio import until_first_ends
from cluster.core.log import get_logger
from pipelines.clock import Clock

log = get_logger("workers")

S = TypeVar("S")

RETRY_S = 1.0
"""After an error that nobody expected."""


class WorkerCallError(Exception):
    """A call to a worker did not end with an answer."""

    def __init__(self, event: WorkerEvent) -> None:
        super().__init__(event.value)
        self.event = event


@dataclass(frozen=True, slots=True)
class Report(Generic[S]):
    """What a worker said last. `asked_us`: when it was asked, UTC microseconds."""

    status: S
    asked_us: int


@dataclass(frozen=True, slots=True)
class WorkerCalls(Generic[S]):
    """What a loop does with its worker.

    Attributes:
        ask: tells it what it has to do and returns its status. Raises WorkerCallError.
        ended: returns True when its process has ended, False where it was watched long enough.
        kill: ends its process, which hangs; Ray starts another.
        pace_s: how long to wait until it is asked again.
        on_change: called after each change of `health` or `report`.
    """

    ask: Callable[[], Awaitable[S]]
    ended: Callable[[], Awaitable[bool]]
    kill: Callable[[], Awaitable[None]]
    pace_s: Callable[[], float]
    on_change: Callable[[], None]


class WorkerLoop(Generic[S]):
    """Asks one worker until cancelled. No other worker's loop waits for it.

    Args:
        name: for the log.
        adopted: whether an earlier controller started the worker.
    """

    def __init__(self, name: str, calls: WorkerCalls[S], clock: Clock, *, adopted: bool) -> None:
        self.health = Health.UNKNOWN if adopted else Health.STARTING
        self.report: Report[S] | None = None
        self.tried = False
        self._name = name
        self._calls = calls
        self._clock = clock
        self._wake = asyncio.Event()
        self._up = asyncio.Event()

    def wake(self) -> None:
        """Ask now: what the worker has to do has changed."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                await until_first_ends(self._ask_on(), self._watch())
            except Exception:
                # Top of the worker's task: it must survive any bug.
                log.exception("a worker's loop failed", name=self._name)
            await asyncio.sleep(RETRY_S)

    async def _ask_on(self) -> None:
        while True:
            self._wake.clear()
            await self._ask()
            try:
                async with asyncio.timeout(self._calls.pace_s()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _ask(self) -> None:
        asked_us = self._clock.now_us()
        try:
            status = await self._calls.ask()
        except WorkerCallError as error:
            await self._take(error.event)
            return
        self.report = Report(status, asked_us)
        await self._take(WorkerEvent.ANSWERED)

    async def _watch(self) -> None:
        """Notice the end of the process at once, instead of with the next question."""
        while True:
            await self._up.wait()
            if await self._calls.ended() and self.health is Health.UP:
                await self._take(WorkerEvent.GONE)
                self.wake()

    async def _take(self, event: WorkerEvent) -> None:
        before, self.health = self.health, advance(self.health, event)
        self.tried = True
        if self.health is Health.UP:
            self._up.set()
        else:
            self._up.clear()
        if self.health in (Health.DOWN, Health.HUNG):
            self.report = None  # what it carried is carried by nobody
        if self.health is not before:
            log.info("worker", name=self._name, health=self.health.value, was=before.value)
        if self.health is Health.HUNG:
            await self._calls.kill()
        self._calls.on_change()
