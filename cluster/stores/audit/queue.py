"""The queue between those who have something to log and the one task that writes it to SQL."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain as concatenated
from itertools import islice

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.stores.audit.events import AuditAction, AuditEvent
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError, ConflictError, InputError

# An event takes 1.8 kB, so all of them 15 MB. One tenant cannot crowd out the others.
MAX_WAITING = 8_192
MAX_WAITING_OF_CHAIN = 2_048

# One transaction of 100 entries takes 24 ms on SQLite, of one 4 to 7 ms (two busy cores).
BATCH = 100

# Serve kills a replica 3 s after it told it to stop, and other parts close after this one.
FLUSH_S = 1.5

log = get_logger("audit")

Append = Callable[[str, Sequence[AuditEvent]], Awaitable[None]]
"""Adds events to a chain, all or none."""
Observe = Callable[[str, int], None]
"""Called with `written`, `delayed` or `lost`, and the number of events."""


@dataclass(frozen=True, slots=True)
class AuditQueueState:
    """State of the queue.

    Attributes:
        failing: the last attempt to write failed.
        waiting: events that are not yet written.
        lost: events that were dropped, since the process started.
        unrecorded_losses: those of them that are not in the log yet.
    """

    failing: bool
    waiting: int
    lost: int
    unrecorded_losses: int


@dataclass(slots=True)
class _Loss:
    """Dropped events of one chain whose number is not in its log yet."""

    count: int
    first_us: int
    last_us: int


class AuditQueue:
    """Bounded; `put` never waits and never raises. One task writes, chain by chain in turns.

    An event whose transaction broke off just as it was committed may be in the log twice.

    Args:
        append: writes to a chain. It raises AtalaiaError where it cannot.
        observe: for metrics.
        max_waiting: events of all chains together; `max_of_chain`: of each of them.
    """

    def __init__(
        self,
        append: Append,
        clock: Clock,
        *,
        observe: Observe = lambda _kind, _count: None,
        max_waiting: int = MAX_WAITING,
        max_of_chain: int = MAX_WAITING_OF_CHAIN,
        backoff: Backoff | None = None,
    ) -> None:
        self._append = append
        self._clock = clock
        self._observe = observe
        self._max_waiting = max_waiting
        self._max_of_chain = max_of_chain
        self._backoff = backoff or Backoff(0.5, 15.0)
        self._queues: dict[str, deque[AuditEvent]] = {}
        self._losses: dict[str, _Loss] = {}
        self._tried: dict[str, int] = {}
        """How many events of each queue's front were there when a transaction failed."""
        self._waiting = 0
        self._lost = 0
        self._failing = False
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> AuditQueueState:
        unrecorded = sum(loss.count for loss in self._losses.values())
        return AuditQueueState(self._failing, self._waiting, self._lost, unrecorded)

    def put(self, chain: str, event: AuditEvent) -> None:
        """Hand over an event. Where there is no room it is dropped and counted."""
        of_chain = len(self._queues.get(chain, ()))
        if self._waiting >= self._max_waiting or of_chain >= self._max_of_chain:
            self._lose(chain, 1, event.at_us, event.at_us)
        else:
            self._queues.setdefault(chain, deque()).append(event)
            self._waiting += 1
        self._wake.set()

    def start(self) -> None:
        """Begin to write; call it once, in the event loop that calls `put`."""
        self._task = asyncio.create_task(self._run(), name="audit writer")

    async def aclose(self) -> None:
        """Write what waits, for at most `FLUSH_S`. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        self._closing.set()
        self._wake.set()
        await asyncio.wait((task,), timeout=FLUSH_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._waiting or self._losses:
            log.error("audit events lost at the end", waiting=self._waiting, lost=self._lost)

    # ------------------------------------------------------------ the writer

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queues or self._losses:
                try:
                    await self._write_next()
                except Exception:  # the top of this task
                    log.exception("audit log cannot be written")
                    self._failing = True
                    await self._pause(self._backoff.next_delay_s())
            if self._closing.is_set():
                return

    async def _write_next(self) -> None:
        """One transaction for the chain whose turn it is; waits after a failure."""
        chain = next(concatenated(self._queues, self._losses))
        queue = self._queues.get(chain, deque())
        events = list(islice(queue, BATCH))
        loss = self._losses.pop(chain, None)
        try:
            await self._append(chain, [*events, *self._lost_events(loss)])
        except AtalaiaError as error:
            self._restore(chain, loss)
            await self._failed(chain, len(events), error)
        except BaseException:
            self._restore(chain, loss)
            raise
        else:
            self._done(chain, len(events))

    def _done(self, chain: str, count: int) -> None:
        self._failing = False
        self._backoff.reset()
        tried = self._tried.pop(chain, 0)
        if tried > count:
            self._tried[chain] = tried - count
        self._observe("written", count)
        self._observe("delayed", min(tried, count))
        self._drop_front(chain, count)

    async def _failed(self, chain: str, count: int, error: AtalaiaError) -> None:
        if count and isinstance(error, InputError) and not isinstance(error, ConflictError):
            # The database will never take these; the others shall not wait behind them.
            log.error("audit events not taken", count=count, error=str(error))
            now_us = self._clock.now_us()
            self._drop_front(chain, count)
            self._lose(chain, count, now_us, now_us)
            return
        if not self._failing:
            log.warning("audit log cannot be written", waiting=self._waiting, error=str(error))
        self._failing = True
        self._tried[chain] = len(self._queues.get(chain, ()))
        self._take_turns(chain)
        await self._pause(self._backoff.next_delay_s())

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not through the beginning of the end."""
        if self._closing.is_set():
            await asyncio.sleep(min(seconds, FLUSH_S / 10))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    def _drop_front(self, chain: str, count: int) -> None:
        queue = self._queues.get(chain, deque())
        for _ in range(count):
            queue.popleft()
        self._waiting -= count
        self._take_turns(chain)

    def _take_turns(self, chain: str) -> None:
        """The chain goes to the end of the line, or leaves it."""
        queue = self._queues.pop(chain, None)
        if queue:
            self._queues[chain] = queue

    # ------------------------------------------------------------ losses

    def _lose(self, chain: str, count: int, first_us: int, last_us: int) -> None:
        if count == 0:
            return
        self._lost += count
        self._observe("lost", count)
        self._restore(chain, _Loss(count, first_us, last_us))

    def _restore(self, chain: str, loss: _Loss | None) -> None:
        """Add a loss to those that are not in the log yet."""
        if loss is None:
            return
        known = self._losses.get(chain, loss)
        count = loss.count if known is loss else known.count + loss.count
        first_us, last_us = min(known.first_us, loss.first_us), max(known.last_us, loss.last_us)
        self._losses[chain] = _Loss(count, first_us, last_us)

    def _lost_events(self, loss: _Loss | None) -> list[AuditEvent]:
        if loss is None:
            return []
        return [
            AuditEvent(
                at_us=self._clock.now_us(),
                actor="system:api",
                action=AuditAction.AUDIT_LOST,
                object_kind="audit",
                details={
                    "count": loss.count,
                    "first_us": loss.first_us,
                    "last_us": loss.last_us,
                },
            )
        ]
