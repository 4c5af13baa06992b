"""Carries out erasures: each goes through its steps, all of them in turns, for good.

Where a process is killed, the next one goes on with the step that was under way: every step may be
begun again, and what it counts is counted with what it removes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol
from uuid import UUID

from cluster.core.backoff import Backoff
from cluster.core.erasure_settings import ErasureSettings
from cluster.core.log import get_logger
from cluster.erasure.objects import ObjectErasure
from cluster.erasure.receipt import ReceiptKeys
from cluster.erasure.statement import statement
from cluster.erasure.stores import ErasureStores, Wait
from cluster.erasure.tenants import TenantErasure
from cluster.retention.sweep import Steps
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.db import AuditLog, ErasureRecord, PlatformErasures, StepReport
from cluster.stores.db.erasures import TARGETS
from pipelines.clock import Clock
from pipelines.erasure import (
    SEARCHES,
    ErasureKind,
    ErasureState,
    ErasureStep,
    ItemState,
    StepState,
    Target,
    WaitReason,
    next_step,
    object_digest,
)
from pipelines.errors import AtalaiaError, ConfigError, ConflictError, UnavailableError

log = get_logger("erasure")

ACTOR = "system:erasure"
# Between two steps, so that others reach the database.
PAUSE_S = 0.02
SWEEP_EVERY_S = 600.0
RETRY_MAX_S = 300.0
_TROUBLE = (WaitReason.STORE_AWAY, WaitReason.FAILED)
_MAX_DETAIL = 300

S = ErasureStep


class Observer(Protocol):
    """For metrics."""

    def open(self, count: int) -> None: ...

    def done(self, record: ErasureRecord) -> None: ...


class ErasureRunner:
    """Belongs to one event loop. One per cluster: a second one would do no harm, but double the
    work.

    Args:
        open_stores: the stores of one tenant; closed by their owner.
        keys: sign receipts. Raises ConfigError.
        platform_audit: where erasures of tenants are logged, too.
        spool_bytes: what may wait on the disk of one host for stores that are away.
    """

    def __init__(
        self,
        settings: ErasureSettings,
        *,
        erasures: PlatformErasures,
        open_stores: Callable[[str], ErasureStores],
        keys: Callable[[], ReceiptKeys],
        platform_audit: AuditLog,
        clock: Clock,
        observe: Observer,
        spool_bytes: int = 0,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._settings = settings
        self._erasures = erasures
        self._open_stores = open_stores
        self._keys = keys
        self._platform_audit = platform_audit
        self._clock = clock
        self._observe = observe
        self._spool_bytes = spool_bytes
        self._pause_s = pause_s
        self._sweep_at_s = 0.0
        self._backoffs: dict[UUID, Backoff] = {}
        self._retry_at_s: dict[UUID, float] = {}
        self._active: dict[tuple[str, UUID], Steps] = {}

    async def run(self) -> None:
        """Erase what was asked for, until cancelled."""
        look_at_s = self._clock.monotonic()
        while True:
            if self._clock.monotonic() >= look_at_s:
                await self._safely_look()
                look_at_s = self._clock.monotonic() + self._settings.interval_s
            await self._turn()
            await asyncio.sleep(self._pause_s if self._active else self._settings.interval_s)

    async def round(self) -> None:
        """All that can be done now. Raises UnavailableError: what is due cannot be read."""
        await self._look()
        while self._active:
            await self._turn()
            await asyncio.sleep(self._pause_s)

    async def aclose(self) -> None:
        """Break off what is under way. Idempotent."""
        while self._active:
            _, work = self._active.popitem()
            await work.aclose()

    async def _safely_look(self) -> None:
        try:
            await self._look()
        except AtalaiaError as error:
            log.warning("what is to be erased cannot be read", error=str(error))
        except Exception:
            # Top of the task: it must survive any bug.
            log.exception("what is to be erased cannot be read")

    async def _look(self) -> None:
        for tenant, id in await self._erasures.due(self._refused_before_us()):
            if (tenant, id) not in self._active and self._may_try(id):
                self._active[tenant, id] = self._erase(tenant, id)
        self._observe.open(await self._erasures.open_count())
        if self._clock.monotonic() >= self._sweep_at_s:
            self._sweep_at_s = self._clock.monotonic() + SWEEP_EVERY_S
            await self._sweep()

    async def _sweep(self) -> None:
        """What a host's spool still sends of a tenant that was erased is read by nobody."""
        for record in await self._erasures.erasures():
            if record.state is ErasureState.DONE:
                redis = self._open_stores(record.tenant).redis
                await redis.remove_keys(redis.lasting)

    async def _turn(self) -> None:
        """One step of each."""
        for key, work in list(self._active.items()):
            try:
                await anext(work)
            except StopAsyncIteration:
                del self._active[key]
            except Exception:
                # Top of one erasure's work: it is tried again, and the others go on.
                log.exception("an erasure failed", erasure=str(key[1]))
                self._active.pop(key, None)

    def _may_try(self, id: UUID) -> bool:
        return self._clock.monotonic() >= self._retry_at_s.get(id, 0.0)

    def _note_failures(self, record: ErasureRecord) -> None:
        """One that a store holds up is tried again later and later: each try searches anew."""
        interval_s = self._settings.interval_s
        waiting = [report for report in record.steps if report.state is StepState.WAITING]
        if any(report.reason in _TROUBLE for report in waiting):
            backoff = self._backoffs.setdefault(
                record.id, Backoff(interval_s, max(interval_s, RETRY_MAX_S))
            )
            self._retry_at_s[record.id] = self._clock.monotonic() + backoff.next_delay_s()
        else:
            self._backoffs.pop(record.id, None)
            self._retry_at_s.pop(record.id, None)

    def _refused_before_us(self) -> int:
        return self._clock.now_us() - self._settle_us

    @property
    def _settle_us(self) -> int:
        return round(self._settings.settle_s * 1e6)

    # ------------------------------------------------------------ one erasure

    async def _erase(self, tenant: str, id: UUID) -> Steps:
        stores = self._open_stores(tenant)
        try:
            record = await stores.work.erasure(id)
            saga = Saga(self, stores, record)
            done = record.state is ErasureState.DONE
            async with aclosing(self._clean_up(stores, id) if done else saga.steps()) as steps:
                async for _ in steps:
                    yield
            self._note_failures(saga.record)
        except AtalaiaError as error:
            log.warning("an erasure waits", tenant=tenant, erasure=str(id), error=str(error))

    async def _clean_up(self, stores: ErasureStores, id: UUID) -> Steps:
        """Remove what was stored of an object that was seen again after its erasure was done."""
        work = ObjectErasure(stores, id, self._refused_before_us())
        for part in (work.vectors(keep=False), work.known_files(keep=False)):
            async with aclosing(part) as steps:
                async for _ in steps:
                    yield

    # ------------------------------------------------------------ what a saga needs

    def parts(self, stores: ErasureStores, record: ErasureRecord) -> ObjectErasure | TenantErasure:
        """What erases, store by store."""
        if record.kind is ErasureKind.TENANT:
            return TenantErasure(stores, record.id)
        return ObjectErasure(stores, record.id, self._refused_before_us())

    def now_us(self) -> int:
        return self._clock.now_us()

    async def settled(
        self, part: ObjectErasure | TenantErasure, marked_us: int, from_us: int
    ) -> None:
        """Returns when what was on its way has arrived. Raises Wait."""
        times = from_us, self._clock.now_us(), self._settle_us
        if isinstance(part, TenantErasure):
            await part.settled(*times)
        else:
            await part.settled(marked_us, *times)

    async def sign(self, stores: ErasureStores, record: ErasureRecord) -> None:
        """Write and sign the receipt, and end the erasure.

        Raises:
            Wait: there is no key.
            ConflictError: the tenant has rows again.
        """
        try:
            keys = self._keys()
        except ConfigError as error:
            raise Wait(WaitReason.NO_SIGNING_KEY, str(error)) from None
        targets = await stores.work.items(record.id, TARGETS, state=ItemState.GONE)
        head = await stores.audit.head()
        body = statement(
            record,
            self._settings,
            digests=[
                object_digest(record.tenant, Target.of_key(item.key))
                for item in targets
                if item.to_us
            ],
            held=await stores.work.held(record.id),
            checked_us=self._clock.now_us(),
            audit=(head.sequence, head.hash),
            spool_bytes=self._spool_bytes,
        )
        await self._log(stores, record)
        await stores.work.finish(record, keys.sign(body))
        self._observe.done(record)
        log.info("erased", tenant=record.tenant, erasure=str(record.id), removed=record.removed)

    async def _log(self, stores: ErasureStores, record: ErasureRecord) -> None:
        """Before the end: a kill in between logs it twice rather than never."""
        event = AuditEvent(
            at_us=self._clock.now_us(),
            actor=ACTOR,
            action=AuditAction.ERASURE_DONE,
            object_kind="erasure",
            object_id=str(record.id),
            details={
                "kind": record.kind.value,
                "tenant": record.tenant,
                "removed": record.removed,
            },
        )
        await stores.audit.append([event])
        if record.kind is ErasureKind.TENANT:
            await self._platform_audit.append([event])


class Saga:
    """One erasure on its way through its steps.

    Attributes:
        record: as it is stored.
    """

    def __init__(self, runner: ErasureRunner, stores: ErasureStores, record: ErasureRecord) -> None:
        self._runner = runner
        self._stores = stores
        self.record = record
        self._part = runner.parts(stores, record)

    async def steps(self) -> Steps:
        """Do every step that can be done now."""
        tried: frozenset[ErasureStep] = frozenset()
        while step := next_step(self.record.kind, self.record.step_states, tried):
            try:
                async with aclosing(self._work(step)) as work:
                    async for _ in work:
                        yield
            except Wait as wait:
                await self._wait(step, wait.reason, wait.detail)
                tried |= {step}
            except AtalaiaError as error:
                away = isinstance(error, UnavailableError)
                reason = WaitReason.STORE_AWAY if away else WaitReason.FAILED
                await self._wait(step, reason, error.message)
                tried |= {step}
            except Exception as error:
                # Top of one step's work: it waits, visibly, and the others go on.
                log.exception("a step of an erasure failed", step=step.value)
                await self._wait(step, WaitReason.FAILED, type(error).__name__)
                tried |= {step}
            else:
                if step is S.SIGN:
                    return
                await self._done(step)

    def _work(self, step: ErasureStep) -> Steps:
        match step:
            case S.SETTLE:
                return self._settle()
            case S.VERIFY:
                return self._verify()
            case S.SIGN:
                return self._sign()
        work: Callable[[], Steps] = getattr(self._part, step.value)
        return work()

    async def _settle(self) -> Steps:
        marked_us = self.record.marked_us or self._runner.now_us()
        from_us = self.record.report(S.SETTLE).cursor.get("from_us", marked_us)
        await self._runner.settled(self._part, marked_us, from_us)
        yield

    async def _verify(self) -> Steps:
        """Search all stores again. Raises Wait: something was there, and was removed."""
        cursor = self.record.report(S.VERIFY).cursor
        if "removed" not in cursor:
            # Kept before the first look, so that what is found counts wherever this is broken off.
            before = await self._stores.work.erasure(self.record.id)
            cursor = {"removed": before.removed}
            await self._save(self._with(S.VERIFY, StepReport(step=S.VERIFY, cursor=cursor)))
        for step in SEARCHES[self.record.kind]:
            async with aclosing(self._work(step)) as work:
                async for _ in work:
                    yield
        found = (await self._stores.work.erasure(self.record.id)).removed - cursor["removed"]
        if found:
            await self._search_again()
            raise Wait(WaitReason.CAME_BACK, f"{found} things")

    async def _search_again(self) -> None:
        settle = StepReport(step=S.SETTLE, cursor={"from_us": self._runner.now_us()})
        await self._save(self._with(S.SETTLE, settle))
        await self._save(self._with(S.VERIFY, StepReport(step=S.VERIFY)))

    async def _sign(self) -> Steps:
        done = self._with(S.SIGN, StepReport(step=S.SIGN, state=StepState.DONE))
        counted = (await self._stores.work.erasure(self.record.id)).counts
        try:
            await self._runner.sign(self._stores, done.model_copy(update={"counts": counted}))
        except ConflictError:
            await self._search_again()
            raise Wait(WaitReason.CAME_BACK, "rows of the tenant") from None
        yield

    # ------------------------------------------------------------ reports

    async def _done(self, step: ErasureStep) -> None:
        cursor = self.record.report(step).cursor
        record = self._with(step, StepReport(step=step, state=StepState.DONE, cursor=cursor))
        first = S.CLOSE if record.kind is ErasureKind.TENANT else S.RECORDS
        if step is first and record.marked_us is None:
            record = record.model_copy(update={"marked_us": self._runner.now_us()})
        await self._save(record.model_copy(update={"state": ErasureState.RUNNING}))

    async def _wait(self, step: ErasureStep, reason: WaitReason, detail: str) -> None:
        cursor = self.record.report(step).cursor
        report = StepReport(
            step=step,
            state=StepState.WAITING,
            reason=reason,
            detail=detail[:_MAX_DETAIL],
            cursor=cursor,
        )
        record = self._with(step, report)
        await self._save(record.model_copy(update={"state": ErasureState.WAITING}))

    def _with(self, step: ErasureStep, report: StepReport) -> ErasureRecord:
        """The record with another report of a step. Raises AssertionError: it may not follow."""
        before = self.record.report(step).state
        if report.state not in before.may_become:
            raise AssertionError(f"{step} cannot go from {before} to {report.state}")
        steps = tuple(report if one.step is step else one for one in self.record.steps)
        return self.record.model_copy(update={"steps": steps})

    async def _save(self, record: ErasureRecord) -> None:
        await self._stores.work.save(record)
        self.record = record
