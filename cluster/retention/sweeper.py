"""The one sweeper of a cluster: looks after all tenants in turn, in small steps, for good."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from cluster.core.log import get_logger
from cluster.core.retention_settings import RetentionSettings
from cluster.retention.age import AgeSweep, Resume, Steps
from cluster.retention.disk import UsageProbe
from cluster.retention.listed import ListedSweep
from cluster.retention.space import Party, SpaceKeeper
from cluster.retention.stores import TenantStores
from cluster.retention.tally import Tally
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.db import AuditLog, RemovalCause, RetentionRun
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError
from pipelines.retention import Retention, RetentionPolicy, SpaceState, Usage

log = get_logger("retention")

ACTOR = "system:retention"
# Steps of one tenant in one run, so that a run is reported soon: some ten thousand rows.
MAX_STEPS = 200
# Between two steps, so that others reach the database.
PAUSE_S = 0.02
# Before the next run, where this one left something that can go.
SOON_S = 5.0


class Observer(Protocol):
    """For metrics."""

    def run(self, run: RetentionRun) -> None: ...

    def space(self, usage: Usage | None, state: SpaceState) -> None: ...


class Sweeper:
    """Belongs to one event loop. More than one would do no harm, but double the work.

    Args:
        tenants: all tenants, by slug.
        stores: opens the stores of one; closed by their owner.
        platform_audit: where the platform's own alarms are logged.
        probe: measures the storage; None: it cannot be measured.
    """

    def __init__(
        self,
        settings: RetentionSettings,
        *,
        tenants: Callable[[], Awaitable[Sequence[str]]],
        stores: Callable[[str], TenantStores],
        platform_audit: AuditLog,
        probe: UsageProbe | None,
        clock: Clock,
        observe: Observer,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._settings = settings
        self._tenants = tenants
        self._stores = stores
        self._platform_audit = platform_audit
        self._clock = clock
        self._observe = observe
        self._pause_s = pause_s
        self._space = SpaceKeeper(probe, settings, clock, self._raise_alarm)
        self._resume: dict[str, Resume] = {}
        self._stopped_early = False

    async def run(self) -> None:
        """Remove what may go at once, then in intervals, until cancelled."""
        while True:
            try:
                complete = await self.round()
            except AtalaiaError as error:
                log.warning("retention failed", error=str(error))
                complete = True
            except Exception:
                # Top of the task: it must survive any bug.
                log.exception("retention failed")
                complete = True
            await asyncio.sleep(self._settings.interval_s if complete else SOON_S)

    async def round(self) -> bool:
        """One run for all tenants. Returns False if something is left that can go.

        Raises:
            UnavailableError: the tenants cannot be read.
        """
        now_us = self._clock.now_us()
        tenants = await self._tenants()
        self._resume = {tenant: self._resume.get(tenant, Resume()) for tenant in tenants}
        parties = [Party(self._stores(tenant), Tally(tenant, now_us)) for tenant in tenants]
        self._stopped_early = False
        await self._take_turns([self._by_age(party, now_us) for party in parties])
        await self._take_turns([self._space.steps(parties)])
        for party in parties:
            await self._report(party)
        self._observe.space(self._space.usage, self._space.state)
        return not self._stopped_early

    # ------------------------------------------------------------ turns

    async def _take_turns(self, works: Sequence[Steps]) -> None:
        """One step of each in turn, until all end or had `MAX_STEPS`."""
        line = deque((work, 0) for work in works)
        while line:
            work, steps = line.popleft()
            if steps >= MAX_STEPS:
                self._stopped_early = True
                await work.aclose()
            elif await self._step(work):
                line.append((work, steps + 1))
            await asyncio.sleep(self._pause_s)

    async def _step(self, work: Steps) -> bool:
        """One step. Returns False if that was the last one."""
        try:
            await anext(work)
        except StopAsyncIteration:
            return False
        except Exception:
            # Top of one tenant's work: a bug there must not stop that of the others.
            log.exception("retention of a tenant failed")
            return False
        return True

    async def _by_age(self, party: Party, now_us: int) -> Steps:
        stores, tally = party.stores, party.tally
        try:
            stored = await stores.retention.policy()
        except AtalaiaError as error:
            tally.give_up(error)
            return
        policy = stored.policy if stored is not None else RetentionPolicy()
        retention = Retention(policy, self._settings.limits)
        resume = self._resume[tally.tenant]
        rows = AgeSweep(stores, retention, now_us, tally, resume)
        try:
            for sweep in (rows, ListedSweep(stores, retention, now_us, tally, resume)):
                async with aclosing(sweep.steps()) as steps:
                    async for _ in steps:
                        yield
        except GeneratorExit:
            tally.complete = False  # it had `MAX_STEPS`
            raise

    # ------------------------------------------------------------ reports

    async def _report(self, party: Party) -> None:
        """Keep what a run removed: in the records, in the tenant's audit log, in the metrics."""
        run = party.tally.report(self._clock.now_us(), self._space.state)
        self._observe.run(run)
        try:
            await party.stores.retention.add_run(run)
            events = [e for cause in RemovalCause if (e := _removal_event(run, cause))]
            await party.stores.audit.append(events)
        except AtalaiaError as error:
            log.error(
                "what retention removed is not recorded",
                tenant=party.tally.tenant,
                counts=[count.model_dump(mode="json") for count in run.counts],
                error=str(error),
            )

    async def _raise_alarm(self, usage: Usage) -> None:
        mark = self._settings.high_water
        log.error(
            "the disk is above its mark: what policy would keep is being removed",
            used=round(usage.fraction, 3),
            mark=mark,
        )
        self._observe.space(usage, SpaceState.REMOVING)
        event = AuditEvent(
            at_us=self._clock.now_us(),
            actor=ACTOR,
            action=AuditAction.RETENTION_PRESSURE,
            object_kind="storage",
            details={"used": f"{usage.fraction:.3f}", "mark": str(mark)},
        )
        try:
            await self._platform_audit.append([event])
        except AtalaiaError as error:
            # Removing goes on all the same: a full disk may be why this cannot be written.
            log.error("the alarm is not in the audit log", error=str(error))


def _removal_event(run: RetentionRun, cause: RemovalCause) -> AuditEvent | None:
    """What a run removed for one cause; None: nothing."""
    counts = [count for count in run.counts if count.cause is cause and count.removed]
    if not counts:
        return None
    return AuditEvent(
        at_us=run.ended_us,
        actor=ACTOR,
        action=AuditAction.RETENTION_REMOVE,
        object_kind="retention",
        object_id=cause.value,
        details={
            **{count.kind.value: count.removed for count in counts},
            "bytes": sum(count.bytes for count in counts),
            "failures": sum(c.failures for c in run.counts if c.cause is cause),
        },
    )
