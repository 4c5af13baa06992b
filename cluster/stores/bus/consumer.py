"""Carries entries of the tenants' streams to where they are kept: once it is sure, then no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from redis.asyncio import Redis

from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.stores.bus.connection import redis_errors
from cluster.stores.bus.keys import dead_key
from cluster.stores.bus.settlement import Look, Settlement, order
from cluster.stores.bus.stream import GROUP, RawEntry, UnreadableEntryError
from pipelines.clock import Clock, SystemClock
from pipelines.errors import InputError, UnavailableError

BLOCK_MS = 1_000
# A new tenant's first entry waits in its stream for at most this long.
TENANTS_EVERY_S = 2.0
# Longer than a healthy batch can take (the database's time-out is 15 s), so that nobody takes
# over what another listener is still working on; taking it over would be harmless, but useless.
CLAIM_IDLE_MS = 30_000
CLAIM_EVERY_S = 10.0
DEAD_KEPT = 10_000
# Ids of entries that are recorded and behind one that is not: some 60 bytes each.
SETTLED_KEPT = 10_000
RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0

_LOG = get_logger("bus.listener")
T = TypeVar("T")


class StreamHandler(Protocol[T]):
    """One kind of stream, and where what it carries is kept.

    Attributes:
        name: what it carries, for logs.
        batch: how many entries are recorded at once.
    """

    name: str
    batch: int

    def key(self, tenant: str) -> str:
        """Key of the tenant's stream."""
        ...

    def mark(self, tenant: str) -> str | None:
        """Key of the stream's mark, see `settlement`; None: what it carries may be lost."""
        ...

    def decode(self, tenant: str, fields: Mapping[bytes, bytes]) -> T:
        """Raises UnreadableEntryError."""
        ...

    async def record(self, tenant: str, items: list[T]) -> int:
        """Keep all or none, and again without effect; how many were new.

        Raises:
            InputError: one of them can never be kept.
            UnavailableError: not now.
        """
        ...

    async def trim(self, tenant: str) -> None:
        """Drop what the stream need not hold any more."""
        ...


class Loss(StrEnum):
    """Why an entry did not reach the records."""

    TRIMMED = "trimmed"
    """It was removed with all before it, and not by us: we trim what is recorded."""
    DELETED = "deleted"
    """It alone was removed, by an erasure or by hand."""
    DEAD = "dead"
    """The records can never take it; it is kept in the dead stream, with the reason."""


OnLoss = Callable[[str, Loss, int], None]
"""Is told what an entry carried, why it did not reach the records, and how many there were."""


def ignore_loss(what: str, loss: Loss, count: int) -> None:
    """For those who read `stats`."""


@dataclass(slots=True)
class ListenerStats:
    """Counts since the start.

    Attributes:
        recorded: entries that were new to the records.
        known: entries that the records had already.
        recovered: of the recorded ones, those that were no longer pending in Redis.
        lost: entries that did not reach the records, by why.
    """

    recorded: int = 0
    known: int = 0
    recovered: int = 0
    lost: Counter[Loss] = field(default_factory=Counter)

    @property
    def dead(self) -> int:
        return self.lost[Loss.DEAD]


@dataclass(frozen=True, slots=True)
class _Delivery:
    """An entry as the group delivers it; `fields` is None where it is gone from the stream."""

    entry_id: bytes
    fields: dict[bytes, bytes] | None


class Consumer(Generic[T]):
    """Records each entry, then acknowledges it. Several may run at once, under their own names.

    Order of work: what this consumer was given before and did not finish, then what is new; from
    time to time, what another consumer was given and did not finish. Entries that can never be
    recorded go to the tenant's dead stream with the reason.

    Args:
        redis: from `open_redis`; stays the caller's to close.
        tenants: names the tenants there are, now.
        lane: whose streams, and where to.
        consumer: name of this listener in the group, the same after a restart.
        clock: for how often to look for tenants and for work left by others.
        claim_idle_ms: how long another consumer's entry must lie before it is taken over.
        on_loss: is told of each loss, beside the log and `stats`.
    """

    def __init__(
        self,
        redis: Redis,
        tenants: Callable[[], Awaitable[Sequence[str]]],
        handler: StreamHandler[T],
        consumer: str,
        *,
        clock: Clock | None = None,
        claim_idle_ms: int = CLAIM_IDLE_MS,
        on_loss: OnLoss = ignore_loss,
    ) -> None:
        self._redis = redis
        self._on_loss = on_loss
        self._settlement = Settlement(redis, handler.batch)
        self._settled: dict[str, set[bytes]] = {}  # stream key → ids of this process, past the mark
        self._name_tenants = tenants
        self._handler = handler
        self._consumer = consumer
        self._clock = clock or SystemClock()
        self._claim_idle_ms = claim_idle_ms
        self._claim_every_s = min(CLAIM_EVERY_S, claim_idle_ms / 1000)
        self._tenants: dict[str, str] = {}  # stream key → tenant
        self._unfinished: set[str] = set()  # stream keys whose given entries must be read again
        self._tenants_due_s = 0.0
        self._claim_due_s = 0.0
        self.stats = ListenerStats()

    async def run(self) -> None:
        """Listen until cancelled. Redis or the database being away is waited out."""
        backoff = Backoff(RETRY_INITIAL_S, RETRY_MAX_S)
        away = False
        while True:
            try:
                await self._round()
            except UnavailableError as error:
                if not away:
                    _LOG.warning(
                        "entries wait to be recorded", what=self._handler.name, reason=str(error)
                    )
                away = True
                # Entries may have been given to us in a reply that never arrived.
                self._unfinished |= set(self._tenants)
                self._tenants_due_s = 0.0
                await asyncio.sleep(backoff.next_delay_s())
            else:
                if away:
                    _LOG.info("entries are recorded again", what=self._handler.name)
                away = False
                backoff.reset()

    async def _round(self) -> None:
        now_s = self._clock.monotonic()
        if now_s >= self._tenants_due_s:
            await self._find_tenants()
            self._tenants_due_s = now_s + TENANTS_EVERY_S
        if not self._tenants:
            await asyncio.sleep(TENANTS_EVERY_S / 4)
            return
        for key in sorted(self._unfinished):
            await self._finish(key)
            await self._settle(key)
            self._unfinished.discard(key)
        if now_s >= self._claim_due_s:
            for key in list(self._tenants):
                await self._take_over(key)
                await self._settle(key)
            self._claim_due_s = now_s + self._claim_every_s
        for key, deliveries in await self._read(dict.fromkeys(self._tenants, ">"), BLOCK_MS):
            await self._handle(key, deliveries)

    async def _find_tenants(self) -> None:
        wanted = {self._handler.key(tenant): tenant for tenant in await self._name_tenants()}
        for key, tenant in wanted.items():
            # Again for known ones too: a Redis that lost its data has lost the group.
            new, again = await self._settlement.ensure_group(key, self._handler.mark(tenant))
            if again:
                _LOG.warning("the consumer group was gone", stream=key)
            if not new and key in self._tenants:
                continue
            self._unfinished.add(key)
        self._tenants = wanted
        self._unfinished &= set(wanted)
        self._settled = {key: self._settled.get(key, set()) for key in wanted}

    async def _finish(self, key: str) -> None:
        """Handle what this consumer was given before, until nothing of it is left."""
        while True:
            answer = await self._read({key: "0"}, block_ms=None)
            deliveries = answer[0][1] if answer else []
            if not deliveries:
                return
            await self._handle(key, deliveries)

    async def _take_over(self, key: str) -> None:
        """Handle what another consumer was given long ago and has not acknowledged."""
        start: bytes | str = "0-0"
        while True:
            with redis_errors():
                answer: Any = await self._redis.xautoclaim(
                    key,
                    GROUP,
                    self._consumer,
                    self._claim_idle_ms,
                    start,
                    count=self._handler.batch,
                )
            start, raw, deleted = answer
            if raw or deleted:
                _LOG.info("took over entries", stream=key, count=len(raw), gone=len(deleted))
            await self._miss(key, deleted)
            await self._handle(key, _deliveries(raw))
            if start in (b"0-0", "0-0"):
                return

    async def _read(
        self, positions: dict[Any, Any], block_ms: int | None
    ) -> list[tuple[str, list[_Delivery]]]:
        with redis_errors():
            answer: Any = await self._redis.xreadgroup(
                GROUP, self._consumer, positions, count=self._handler.batch, block=block_ms
            )
        return [(key.decode(), _deliveries(raw)) for key, raw in answer or []]

    async def _handle(self, key: str, deliveries: list[_Delivery]) -> None:
        """Record what was delivered, and only then acknowledge it."""
        if not deliveries:
            return
        await self._miss(key, [d.entry_id for d in deliveries if d.fields is None])
        there = [d for d in deliveries if d.fields is not None]
        if there:
            await self._keep(key, there)
        with redis_errors():
            await self._redis.xack(key, GROUP, *(d.entry_id for d in deliveries))
        settled = self._settled[key]
        if len(settled) > SETTLED_KEPT:
            settled.clear()  # they are found in the records
        settled.update(d.entry_id for d in there)
        await self._settle(key)
        await self._handler.trim(self._tenants[key])

    async def _keep(self, key: str, deliveries: Sequence[_Delivery]) -> None:
        """Record what can be recorded; the rest goes to the dead stream."""
        items: dict[bytes, T] = {}
        for delivery in deliveries:
            try:
                items[delivery.entry_id] = self._handler.decode(
                    self._tenants[key], delivery.fields or {}
                )
            except UnreadableEntryError as error:
                await self._dead_letter(key, delivery, str(error))
        await self._record(key, items, {d.entry_id: d for d in deliveries})

    async def _settle(self, key: str) -> None:
        """Move the mark over what is settled. What the group was given and nobody vouches for is
        recorded, again without effect: its consumer was deleted, or another one did it."""
        mark = self._handler.mark(self._tenants[key])
        if mark is None:
            self._settled[key].clear()
            return
        look = await self._look(key, mark)
        while look.entries:
            ids = {entry_id for entry_id, _ in look.entries}
            fresh = [e for e in look.entries if e[0] not in self._settled[key]]
            if fresh:
                await self._recover(key, fresh)
            self._settled[key] -= ids
            look = await self._look(key, mark, look)

    async def _recover(self, key: str, entries: list[RawEntry]) -> None:
        before = self.stats.recorded
        await self._keep(key, _deliveries(entries))
        recovered = self.stats.recorded - before
        if recovered:
            self.stats.recovered += recovered
            _LOG.warning("entries were no longer pending", stream=key, count=recovered)

    async def _look(self, key: str, mark: str, vouched: Look | None = None) -> Look:
        """Find what is not settled, and count what was trimmed."""
        look = await self._settlement.look(key, mark, vouched)
        if look.lost:
            settled = self._settled[key]
            kept = {i for i in settled if not look.first or order(i) < order(look.first)}
            settled -= kept
            self._lose(key, Loss.TRIMMED, look.lost - len(kept))
        return look

    async def _miss(self, key: str, ids: Sequence[bytes]) -> None:
        """Count pending entries that are gone from the stream."""
        mark = self._handler.mark(self._tenants[key])
        if not ids:
            return
        if mark is None:
            self._lose(key, Loss.DELETED, len(ids))
            return
        look = await self._look(key, mark)
        trimmed = [i for i in ids if not look.first or order(i) < order(look.first)]
        self._lose(key, Loss.DELETED, len(ids) - len(trimmed))
        # Else they are among those which `_look` has counted.
        if not look.exact:
            self._lose(key, Loss.TRIMMED, len(trimmed))

    def _lose(self, key: str, loss: Loss, count: int) -> None:
        if count <= 0:
            return
        self.stats.lost[loss] += count
        self._on_loss(self._handler.name, loss, count)
        _LOG.error("entries were not recorded", stream=key, reason=loss.value, count=count)

    async def _record(
        self, key: str, items: dict[bytes, T], deliveries: dict[bytes, _Delivery]
    ) -> None:
        """Record all in one transaction; where the records refuse it, one by one, so that only
        the culprit becomes a dead letter (and leaves `items`)."""
        tenant = self._tenants[key]
        try:
            self._count(await self._handler.record(tenant, list(items.values())), len(items))
            return
        except InputError:
            _LOG.warning("a batch is recorded one by one", stream=key, count=len(items))
        for entry_id, item in list(items.items()):
            try:
                self._count(await self._handler.record(tenant, [item]), 1)
            except InputError as error:
                del items[entry_id]
                await self._dead_letter(key, deliveries[entry_id], str(error))

    def _count(self, recorded: int, of: int) -> None:
        self.stats.recorded += recorded
        self.stats.known += of - recorded

    async def _dead_letter(self, key: str, delivery: _Delivery, reason: str) -> None:
        """Move an entry to the dead stream, in one step with its acknowledgement."""
        fields: dict[Any, Any] = {
            **(delivery.fields or {}),
            b"reason": reason.encode(),
            b"stream_id": delivery.entry_id,
        }
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.xadd(dead_key(key), fields, maxlen=DEAD_KEPT, approximate=True)
                pipeline.xack(key, GROUP, delivery.entry_id)
                await pipeline.execute()
        _LOG.error(
            "an entry cannot be recorded", stream=key, id=delivery.entry_id.decode(), reason=reason
        )
        self._lose(key, Loss.DEAD, 1)


def _deliveries(raw: Iterable[tuple[bytes, dict[bytes, bytes] | None]]) -> list[_Delivery]:
    return [_Delivery(entry_id, fields or None) for entry_id, fields in raw]
