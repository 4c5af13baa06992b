"""The queue between those who have something to log and the one task that writes it to SQL."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.audit.turns import Turns
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError, ConflictError, InputError

# An event takes 1.8 kB, so all of them 15 MB. A quarter for one chain: a longer one would only wait
# longer.
MAX_WAITING = 8_192
MAX_WAITING_OF_CHAIN = 2_048

# One transaction of 100 entries takes 24 ms on SQLite, of one 4 to 7 ms (two busy cores).
BATCH = 100

# Serve kills a replica 3 s after asking it to stop, and other components close after the queue.
FLUSH_S = 1.5

# The first retry comes soon; later ones are too rare to burden a failing database.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0

log = get_logger("audit")

Append = Callable[[str, Sequence[AuditEvent]], Awaitable[None]]
"""Adds events to a chain, all or none."""
Observe = Callable[[str, int], None]
"""Called with `written`, `delayed` or `lost`, and the number of events."""


def _backoff() -> Backoff:
    return Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class AuditQueueState:
    """State of the queue.

    Attributes:
        failing: the last attempt to write some chain failed.
        waiting: events that are not yet written.
        lost: events that were dropped, since the process started.
        unrecorded_losses: those of them that are not in the log yet.
    """

    failing: bool
    waiting: int
    lost: int
    unrecorded_losses: int


@dataclass(frozen=True, slots=True)
class _Loss:
    """Dropped events of one chain whose number is not in its log yet."""

    count: int
    first_us: int
    last_us: int

    def __add__(self, other: _Loss) -> _Loss:
        return _Loss(
            self.count + other.count,
            min(self.first_us, other.first_us),
            max(self.last_us, other.last_us),
        )


@dataclass(slots=True)
class _Chain:
    """What waits for one chain.

    Attributes:
        writing: how many events of the front are in a transaction now.
        tried: how many events of the front were there when a transaction failed.
        batch: most events of the next transaction: fewer while one that is refused is looked for.
    """

    events: deque[AuditEvent] = field(default_factory=deque)
    loss: _Loss | None = None
    writing: int = 0
    tried: int = 0
    batch: int = BATCH

    @property
    def length(self) -> int:
        return len(self.events)

    @property
    def movable(self) -> int:
        """Events that may still make way."""
        return len(self.events) - self.writing

    def lose(self, loss: _Loss | None) -> None:
        """Add a loss to those that are not in the log yet."""
        if loss is not None:
            self.loss = loss if self.loss is None else self.loss + loss

    def take(self, count: int) -> int:
        """Remove events from the front. Returns how many of them had waited for a second try."""
        for _ in range(count):
            self.events.popleft()
        delayed = min(self.tried, count)
        self.tried -= delayed
        return delayed


class AuditQueue:
    """Bounded; `put` never waits and never raises. One task writes, chain by chain in turns.

    When there is no room left, the longest chain makes way, so that a flood of one chain or of
    several cannot crowd out the rest.

    An event whose transaction broke off just as it was committed may be in the log twice.

    Args:
        append: writes to a chain. It raises AtalaiaError where it cannot, InputError where it never
            can.
        observe: for metrics.
        max_waiting: events of all chains together; `max_of_chain`: of each of them.
        backoff: makes the back-off of a chain that cannot be written.
    """

    def __init__(
        self,
        append: Append,
        clock: Clock,
        *,
        observe: Observe = lambda _kind, _count: None,
        max_waiting: int = MAX_WAITING,
        max_of_chain: int = MAX_WAITING_OF_CHAIN,
        backoff: Callable[[], Backoff] = _backoff,
    ) -> None:
        self._append = append
        self._clock = clock
        self._observe = observe
        self._max_waiting = max_waiting
        self._max_of_chain = max_of_chain
        self._turns = Turns(backoff)
        self._chains: dict[str, _Chain] = {}
        """Those in line."""
        self._waiting = 0
        self._lost = 0
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._attempt: asyncio.Timeout | None = None
        """Limits the transaction that is under way."""
        self._ends = 0.0
        """Of the event loop's time: when to give up."""
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> AuditQueueState:
        unrecorded = sum(chain.loss.count for chain in self._chains.values() if chain.loss)
        return AuditQueueState(self._turns.failing, self._waiting, self._lost, unrecorded)

    def put(self, chain: str, event: AuditEvent) -> None:
        """Hand over an event. Where there is no room, this or another one is dropped and counted:
        the newest of the longest chain."""
        waiting = self._join(chain)
        if waiting.length >= self._max_of_chain or not self._has_room(waiting):
            self._lose(chain, _Loss(1, event.at_us, event.at_us))
        else:
            waiting.events.append(event)
            self._waiting += 1
        self._wake.set()

    def start(self) -> None:
        """Begin to write; call it once, in the event loop that calls `put`."""
        self._task = asyncio.create_task(self._run(), name="audit writer")

    async def aclose(self) -> None:
        """Write what waits, for at most `FLUSH_S`; each chain is tried. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        now = asyncio.get_running_loop().time()
        self._ends = now + FLUSH_S
        self._closing.set()
        self._wake.set()
        if self._attempt is not None:
            # It may hang, and the others shall have their turn.
            self._attempt.reschedule(now + FLUSH_S / 2)
        await asyncio.wait((task,), timeout=FLUSH_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._chains:
            log.error("audit events lost at the end", waiting=self._waiting, lost=self._lost)

    # ------------------------------------------------------------ room

    def _join(self, chain: str) -> _Chain:
        self._turns.join(chain)
        return self._chains.setdefault(chain, _Chain())

    def _has_room(self, newcomer: _Chain) -> bool:
        """Whether one more event fits in; makes room by the newest event of a longer chain."""
        if self._waiting < self._max_waiting:
            return True
        # 6 us for 8 chains; 2 ms for 8,192 of one event each, the most that fit (a busy core).
        name, longest = max(self._chains.items(), key=lambda item: item[1].movable)
        if longest.movable <= newcomer.length + 1:
            return False
        dropped = longest.events.pop()
        longest.tried = min(longest.tried, longest.length)
        self._waiting -= 1
        self._lose(name, _Loss(1, dropped.at_us, dropped.at_us))
        return True

    def _lose(self, chain: str, loss: _Loss) -> None:
        self._lost += loss.count
        self._observe("lost", loss.count)
        self._join(chain).lose(loss)

    # ------------------------------------------------------------ the writer

    async def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            now = self._clock.monotonic()
            chain = self._turns.next(now)
            if chain is not None:
                await self._write(chain, None)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._turns.wait_s(now)):
                    await self._wake.wait()
        await self._flush()

    async def _flush(self) -> None:
        """Write until nothing waits: nobody is tried again before all others were tried."""
        loop = asyncio.get_running_loop()
        while self._chains:
            written = False
            for chain in self._turns:
                # Half of what is left: whoever hangs leaves time to those behind it.
                written |= await self._write(chain, (self._ends - loop.time()) / 2)
            if not written:
                await asyncio.sleep(FLUSH_S / 10)

    async def _write(self, chain: str, limit_s: float | None) -> bool:
        """One transaction for a chain. Returns whether the database took it or refused it for good;
        otherwise the chain has to wait."""
        try:
            async with asyncio.timeout(limit_s) as self._attempt:
                await self._transact(chain)
        except (AtalaiaError, TimeoutError) as error:
            if self._turns.failed(chain, self._clock.monotonic()):
                reason = str(error) or "it took too long."
                log.warning("audit log cannot be written", chain=chain, error=reason)
        except Exception:  # the top of this task
            if self._turns.failed(chain, self._clock.monotonic()):
                log.exception("audit log cannot be written", chain=chain)
        else:
            self._served(chain)
            return True
        finally:
            self._attempt = None
        return False

    async def _transact(self, name: str) -> None:
        """Write what waits at the front of a chain, and what it lost."""
        chain = self._chains[name]
        events = list(islice(chain.events, chain.batch))
        chain.writing, count = len(events), len(events)
        loss, chain.loss = chain.loss, None
        try:
            await self._append(name, [*events, *self._lost_events(loss)])
        except BaseException as error:
            if not isinstance(error, InputError) or isinstance(error, ConflictError):
                chain.lose(loss)
                chain.tried = chain.length
                raise
            self._refused(name, count, loss, error)
        else:
            self._observe("written", count)
            self._observe("delayed", chain.take(count))
            self._waiting -= count
            chain.batch = min(BATCH, 2 * chain.batch)
        finally:
            chain.writing = 0

    def _refused(self, name: str, count: int, loss: _Loss | None, error: InputError) -> None:
        """The database will never take one of these events, and the others shall neither wait
        behind it nor go with it: half of them are tried next, until it is alone."""
        if count == 0:
            # Not even the number of those that were lost. They stay in that of all losses.
            lost = loss.count if loss else 0
            log.error(
                "count of lost audit events not recorded", chain=name, count=lost, error=str(error)
            )
            return
        chain = self._chains[name]
        chain.lose(loss)
        if count > 1:
            chain.batch = count // 2
            return
        log.error("an audit event was rejected by the database", chain=name, error=str(error))
        at_us = chain.events[0].at_us
        chain.take(1)
        self._waiting -= 1
        self._lose(name, _Loss(1, at_us, at_us))

    def _served(self, name: str) -> None:
        """The chain goes to the end of the line, or leaves it."""
        self._turns.succeeded(name)
        chain = self._chains[name]
        if not chain.events and chain.loss is None:
            del self._chains[name]
            self._turns.leave(name)

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
