"""The API's end of the audit log: takes events without waiting, and reports the log's state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from cluster.stores.audit.events import PLATFORM_CHAIN, AuditEvent, AuditOutcome
from cluster.stores.audit.queue import AuditQueue
from cluster.stores.db import Database
from pipelines.clock import Clock
from serve.api.audit.windows import OncePerWindow, Refusal, Refusals, RefusedRequests
from serve.api.fields import ResponseBody
from serve.api.metrics import Metrics

# How late, after its minute, a count of what was refused is written.
TICK_S = 5.0


class AuditHealth(ResponseBody):
    """State of the audit log. It never delays an answer."""

    status: Literal["ok", "delayed", "losing"] = Field(
        description="`delayed`: entries wait, because the database does not take them. `losing`: "
        "entries were dropped, and the log does not say so yet."
    )
    waiting: int = Field(description="Entries that are not yet written.")
    lost: int = Field(description="Entries that were dropped since this process started.")


class Auditor:
    """Owned by the application."""

    def __init__(self, database: Database, clock: Clock, metrics: Metrics) -> None:
        async def append(chain: str, events: Sequence[AuditEvent]) -> None:
            await database.audit_chain(chain).append(events)

        self._queue = AuditQueue(append, clock, observe=metrics.count_audit)
        metrics.audit_waiting.set_function(lambda: self._queue.state.waiting)
        self.clock = clock
        self._once = OncePerWindow(clock)
        self._refused = RefusedRequests(clock)
        self._refusals = Refusals(clock)
        self._ticks: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write; in the event loop that serves the requests."""
        self._queue.start()
        self._ticks = asyncio.create_task(self._tick(), name="audit windows")

    async def aclose(self) -> None:
        """Write what waits, within a deadline. Idempotent."""
        ticks, self._ticks = self._ticks, None
        if ticks is not None:
            ticks.cancel()
            await asyncio.gather(ticks, return_exceptions=True)
        self._put(self._refusals.all(), self._refused.all())
        await self._queue.aclose()

    def record(self, event: AuditEvent, chains: Iterable[str], *, once: bool) -> None:
        """Log an event in some chains. `once`: unless it was logged within the last minute."""
        said = event.model_dump_json(exclude={"at_us"})
        for chain in chains:
            if once and not self._once.first((chain, said)):
                continue
            if event.outcome is AuditOutcome.DONE or self._refused.admit(chain, event):
                self._queue.put(chain, event)

    def refuse(self, address: str | None, cause: Refusal, key_id: str | None = None) -> None:
        """Count a refused credential."""
        self._refusals.add(address, cause, key_id)

    def health(self) -> AuditHealth:
        state = self._queue.state
        status: Literal["ok", "delayed", "losing"] = "ok"
        if state.failing:
            status = "delayed"
        if state.unrecorded_losses:
            status = "losing"
        return AuditHealth(status=status, waiting=state.waiting, lost=state.lost)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._put(self._refusals.due(), self._refused.due())

    def _put(
        self, credentials: Iterable[AuditEvent], requests: Iterable[tuple[str, AuditEvent]]
    ) -> None:
        for event in credentials:
            self._queue.put(PLATFORM_CHAIN, event)
        for chain, event in requests:
            self._queue.put(chain, event)
