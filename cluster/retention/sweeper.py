"""The one sweeper of a cluster: looks after all tenants in turn, in small steps, for good."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from cluster.core.log import get_logger
from cluster.core.retention_settings import RetentionSettings
from cluster.retention.age import AgeSweep
from cluster.retention.disk import UsageProbe
from cluster.retention.listed import ListedSweep
from cluster.retention.quota import QuotaSweep
from cluster.retention.relief import Party
from cluster.retention.space import SpaceKeeper
from cluster.retention.stores import TenantStores
from cluster.retention.sweep import Resume, Steps
from cluster.retention.tally import Tally
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.db import AuditLog, RemovalCause, RetentionRun
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError
from pipelines.retention import Retention, RetentionPolicy, SpaceState, Usage

log = get_logger("retention")

ACTOR = "system:retention"
# Steps of one tenant in one run that remove something, so that a run is reported soon: some ten
# thousand rows.
MAX_STEPS = 200
# Steps that do not: 200,000 clips are looked at, or 64,000 manifests read.
MAX_LOOKS = 1_000
# Between two steps, so that others reach the database.
PAUSE_S = 0.02
# Before the next run, where this one removed all that one run may.
SOON_S = 5.0


@dataclass(slots=True)
class _Turns:
    """The work of one tenant, or of making space for all.

    Attributes:
        tallies: where what it removes is counted.
    """

    work: Steps
    tallies: Sequence[Tally]
    steps: int = 0
    looks: int = 0

    @property
    def over(self) -> bool:
        """Whether it had all that it may have in one run."""
        return self.steps >= MAX_STEPS or self.looks >= MAX_LOOKS

    async def next(self) -> bool:
        """One step. Returns False if that was the last one."""
        before = self._removed()
        try:
            await anext(self.work)
        except StopAsyncIteration:
            return False
        except Exception as error:  # noqa: BLE001 - logged there, with its trace
            # Top of one tenant's work: a bug there must not stop that of the others.
            for tally in self.tallies:
                tally.give_up(error)
            return False
        if self._removed() > before:
            self.steps += 1
        else:
            self.looks += 1
        return True

    def _removed(self) -> int:
        return sum(tally.removed for tally in self.tallies)


class Observer(Protocol):
    """For metrics."""

    def run(self, run: RetentionRun) -> None: ...

    def space(self, usage: Usage | None, state: SpaceState) -> None: ...


class Sweeper:
    """Belongs to one event loop. More than one would do no harm, but double the work.

    Args:
        tenants: all tenants, by slug.
        stores: opens the stores of one; closed by their owner.
        quota: bytes of the storage that a tenant may use.
        platform_audit: where the platform's own alarms are logged.
        probe: measures the storage; None: it cannot be measured.
        look: called at the start of each run.
    """

    def __init__(
        self,
        settings: RetentionSettings,
        *,
        tenants: Callable[[], Awaitable[Sequence[str]]],
        stores: Callable[[str], TenantStores],
        quota: Callable[[str], Awaitable[int]],
        platform_audit: AuditLog,
        probe: UsageProbe | None,
        clock: Clock,
        observe: Observer,
        pause_s: float = PAUSE_S,
        look: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._tenants = tenants
        self._stores = stores
        self._quota = quota
        self._platform_audit = platform_audit
        self._clock = clock
        self._observe = observe
        self._pause_s = pause_s
        self._look = look
        self._space = SpaceKeeper(probe, settings, clock, self._raise_alarm)
        self._resume: dict[str, Resume] = {}

    async def run(self) -> None:
        """Remove what may go at once, then in intervals, until cancelled."""
        while True:
            try:
                more = await self.round()
            except AtalaiaError as error:
                log.warning("retention failed", error=str(error))
                more = False
            except Exception:
                # Top of the task: it must survive any bug.
                log.exception("retention failed")
                more = False
            await asyncio.sleep(SOON_S if more else self._settings.interval_s)

    async def round(self) -> bool:
        """One run for all tenants. Returns whether the next one should follow soon: this one
        removed for somebody all that one run may.

        Raises:
            UnavailableError: the tenants cannot be read.
        """
        if self._look is not None:
            await self._look()
        now_us = self._clock.now_us()
        tenants = await self._tenants()
        self._resume = {tenant: self._resume.get(tenant, Resume()) for tenant in tenants}
        parties = [Party(self._stores(tenant), Tally(tenant, now_us)) for tenant in tenants]
        more = await self._take_turns(
            [_Turns(self._by_age(party, now_us), [party.tally]) for party in parties]
        )
        space = _Turns(self._space.steps(parties), [party.tally for party in parties])
        more |= await self._take_turns([space])
        more |= await self._take_turns(
            [_Turns(self._within_quota(party), [party.tally]) for party in parties]
        )
        for party in parties:
            await self._report(party)
        self._observe.space(self._space.usage, self._space.state)
        return more

    # ------------------------------------------------------------ turns

    async def _take_turns(self, works: Sequence[_Turns]) -> bool:
        """One step of each in turn, until each ended or had all that it may. Returns whether one of
        those removed all that it may."""
        line, more = deque(works), False
        while line:
            turns = line.popleft()
            if turns.over:
                more |= turns.steps >= MAX_STEPS
                await turns.work.aclose()
            elif await turns.next():
                line.append(turns)
            await asyncio.sleep(self._pause_s)
        return more

    async def _by_age(self, party: Party, now_us: int) -> Steps:
        stores, tally = party.stores, party.tally
        stored = await stores.retention.policy()
        policy = stored.policy if stored is not None else RetentionPolicy()
        retention = Retention(policy, self._settings.limits)
        resume = self._resume[tally.tenant]
        try:
            for sort in (AgeSweep, ListedSweep):
                sweep = sort(stores, retention, now_us, tally, resume)
                async with aclosing(sweep.steps()) as steps:
                    async for _ in steps:
                        yield
        except GeneratorExit:
            tally.complete = False  # it had all the steps that it may
            raise

    async def _within_quota(self, party: Party) -> Steps:
        quota = await self._quota(party.tenant)
        async with aclosing(QuotaSweep(party, quota, self._clock).steps()) as steps:
            async for _ in steps:
                yield

    # ------------------------------------------------------------ reports

    async def _report(self, party: Party) -> None:
        """Say what a run removed: in the metrics, in the tenant's audit log, in the records."""
        run = party.tally.report(self._clock.now_us(), self._space.state)
        self._observe.run(run)
        events = [e for cause in RemovalCause if (e := _removal_event(run, cause))]
        await self._record(run, party, lambda: party.stores.audit.append(events))
        await self._record(run, party, lambda: party.stores.retention.add_run(run))

    async def _record(
        self, run: RetentionRun, party: Party, write: Callable[[], Awaitable[object]]
    ) -> None:
        """Top of the work on one record: what goes wrong there takes no other with it."""
        try:
            await write()
        except Exception as error:
            log.exception(
                "what retention removed is not recorded",
                tenant=party.tenant,
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
