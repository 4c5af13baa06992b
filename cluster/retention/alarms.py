"""System alarms about what is kept: footage that is gone, a disk near its mark, recording and
evidence that fail. One per incident, of a camera or of a whole tenant."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from cluster.core.log import get_logger
from cluster.core.retention_settings import RetentionSettings
from cluster.stores.bus import CameraStatus
from cluster.stores.db import AlarmQuery, AlarmRecord
from pipelines.clock import Clock
from pipelines.domain import STORAGE_CAMERA as STORAGE
from pipelines.domain import AlarmSource, CameraKey, RecordingState, RuleKind, SystemKind
from pipelines.errors import AtalaiaError
from pipelines.footage import Census
from pipelines.incidents import Incidents
from pipelines.retention import SpaceState, Usage

log = get_logger("storage alarms")

CHECK_S = 15.0
OVER_S = 120.0
"""An incident is over when all has been well for this long."""
AFTER_S = 30.0
"""A bridge that starts again fails for seconds."""
WAITING_AFTER_S = 300.0
"""Files that wait for storage or database: either restarts in less, and nothing is lost so far."""
MANY = 5
"""More cameras of one tenant that begin to fail together are one incident of the tenant."""
EVIDENCE_US = 120_000_000
"""Alarms of this age are looked at."""
DAY_US = 86_400_000_000
"""What was said within a day is not said again by a process that starts."""
_ALARMS = 100
_MARGIN = 0.02
"""Below the low mark, so that removing the oldest for space is one incident and not many."""

K = SystemKind
_OF_CAMERA = frozenset({K.RECORDING, K.EVIDENCE})


class Subject(NamedTuple):
    """What is wrong with what."""

    key: CameraKey
    kind: SystemKind


class Records(Protocol):
    """What this needs of `cluster.stores.db.TenantRecords`."""

    async def alarms(self, query: AlarmQuery) -> Page: ...


class Page(Protocol):
    @property
    def items(self) -> Sequence[AlarmRecord]: ...


class Footage(Protocol):
    """What this needs of `cluster.recording.footage.FootageGuard`."""

    @property
    def looked(self) -> bool: ...

    @property
    def away(self) -> bool: ...

    @property
    def lost(self) -> Mapping[str, Census]: ...


class StorageAlarms:
    """Belongs to the loop of retention, whose observer it also is (`space`).

    Args:
        tenants: those that live here, by slug.
        statuses: of one tenant's cameras.
        records: of one tenant.
        footage: whether the files are there; None: they are in no local folder.
        send: raises the alarm of a kind about a camera, since when; raises AtalaiaError where it
            could not be sent.
    """

    def __init__(
        self,
        settings: RetentionSettings,
        *,
        tenants: Callable[[], Awaitable[Sequence[str]]],
        statuses: Callable[[str], Awaitable[Mapping[str, CameraStatus]]],
        records: Callable[[str], Records],
        footage: Footage | None,
        send: Callable[[CameraKey, SystemKind, int], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._statuses = statuses
        self._records = records
        self._footage = footage
        self._send = send
        self._clock = clock
        self._high = settings.high_water or settings.warn_at
        low = settings.low_water if settings.high_water else settings.warn_at
        self._low = low - _MARGIN
        self._measured = self._near = self._full = False
        self._incidents = Incidents[Subject](_after_s, OVER_S)
        self._well = set[Subject]()

    async def run(self) -> None:
        """Check in intervals, until cancelled."""
        while True:
            try:
                await self.check()
            except AtalaiaError as error:
                log.warning("storage alarms not checked", error=str(error))
            except Exception:
                # Top of the task: it must survive any bug.
                log.exception("storage alarms not checked")
            await asyncio.sleep(CHECK_S)

    def space(self, usage: Usage | None, state: SpaceState) -> None:
        """How full the disk is, from the sweeper."""
        self._full = state is SpaceState.EXHAUSTED
        if usage is None:
            return
        self._measured = True
        if usage.fraction >= self._high or state is not SpaceState.OK:
            self._near = True
        elif usage.fraction < self._low:
            self._near = False

    async def check(self) -> None:
        """Look at every tenant, and raise what is due. What cannot be sent is tried again by the
        next check. Raises UnavailableError: the tenants cannot be read."""
        tenants = set(await self._tenants())
        for tenant in sorted(tenants):
            try:
                await self._look_at(tenant)
            except AtalaiaError as error:
                log.warning("not checked", tenant=tenant, error=str(error))
        self._incidents.keep(lambda subject: subject.key.tenant in tenants)
        self._well = {subject for subject in self._well if subject.key.tenant in tenants}
        for subject, since_us, others in _joined(self._incidents.due()):
            if await self._raise(subject, since_us, others):
                for said in others:
                    self._incidents.said(said)

    # ------------------------------------------------------------ what is seen

    async def _look_at(self, tenant: str) -> None:
        statuses = await self._statuses(tenant)
        self._forget_cameras(tenant, statuses)
        reports = {camera: s.recording for camera, s in statuses.items() if s.recording}
        for camera, report in reports.items():
            failing = report.state is RecordingState.FAILING
            self._observe(tenant, camera, K.RECORDING, failing)
        recorded = [r for r in reports.values() if r.state is not RecordingState.OFF]
        waits = any(r.reason and r.state is not RecordingState.FAILING for r in recorded)
        gone = self._is_gone(tenant)
        if recorded:
            self._observe(tenant, STORAGE, K.RECORDING, waits and not gone)
        if recorded and self._measured:
            self._observe(tenant, STORAGE, K.DISK, self._near)
            self._observe(tenant, STORAGE, K.DISK_FULL, self._full)
        if self._footage is not None and self._footage.looked:
            self._observe(tenant, STORAGE, K.FOOTAGE, gone)
        await self._look_at_evidence(tenant)

    def _is_gone(self, tenant: str) -> bool:
        return self._footage is not None and (self._footage.away or tenant in self._footage.lost)

    async def _look_at_evidence(self, tenant: str) -> None:
        """An alarm of live analysis is without a picture only where that could not be stored."""
        since_us = max(0, self._clock.now_us() - EVIDENCE_US)
        page = await self._records(tenant).alarms(AlarmQuery(since_us=since_us, limit=_ALARMS))
        newest = dict[str, bool]()
        for record in page.items:
            alarm = record.alarm
            if alarm.source is AlarmSource.LIVE and isinstance(alarm.kind, RuleKind):
                newest.setdefault(alarm.camera, alarm.snapshot is None)
        for camera, bare in newest.items():
            self._observe(tenant, camera, K.EVIDENCE, bare)

    def _observe(self, tenant: str, camera: str, kind: SystemKind, failing: bool) -> None:
        subject = Subject(CameraKey(tenant, camera), kind)
        if not failing:
            self._well.add(subject)
        self._incidents.observe(subject, failing, self._clock.monotonic(), self._clock.now_us())

    def _forget_cameras(self, tenant: str, statuses: Mapping[str, CameraStatus]) -> None:
        """Those that were removed; an empty board says nothing."""

        def known(subject: Subject) -> bool:
            key = subject.key
            return key.tenant != tenant or key.camera == STORAGE or key.camera in statuses

        if statuses:
            self._incidents.keep(known)
            self._well = set(filter(known, self._well))

    # ------------------------------------------------------------ what is said

    async def _raise(self, subject: Subject, since_us: int, incidents: Sequence[Subject]) -> bool:
        """Whether it is said, now or before.

        Args:
            incidents: what it says. If one of them was well meanwhile, this is news.
        """
        try:
            if self._well.isdisjoint(incidents) and await self._was_said(subject):
                return True
            await self._send(subject.key, subject.kind, since_us)
        except AtalaiaError as error:
            log.warning("system alarm not sent", camera=subject.key.room, kind=subject.kind.value,
                        error=error.message)  # fmt: skip
            return False
        log.warning("system alarm", camera=subject.key.room, kind=subject.kind.value)
        return True

    async def _was_said(self, subject: Subject) -> bool:
        """Whether a process before this one said it: this one has never seen it well."""
        since_us = max(0, self._clock.now_us() - DAY_US)
        page = await self._records(subject.key.tenant).alarms(
            AlarmQuery(
                camera=subject.key.camera,
                rule=f"system-{subject.kind.value}",
                since_us=since_us,
                limit=1,
            )
        )
        return bool(page.items)


def _after_s(subject: Subject) -> float:
    if subject.kind is not K.RECORDING:
        return 0.0
    return WAITING_AFTER_S if subject.key.camera == STORAGE else AFTER_S


def _joined(due: list[tuple[Subject, int]]) -> list[tuple[Subject, int, list[Subject]]]:
    """What is to be raised, since when, and which incidents are said by it."""
    together = defaultdict[tuple[str, SystemKind], list[tuple[Subject, int]]](list)
    for subject, since_us in due:
        together[subject.key.tenant, subject.kind].append((subject, since_us))
    found = list[tuple[Subject, int, list[Subject]]]()
    for (tenant, kind), each in together.items():
        if kind in _OF_CAMERA and len(each) > MANY:
            first_us = min(since_us for _, since_us in each)
            all_of_them = [subject for subject, _ in each]
            found.append((Subject(CameraKey(tenant, STORAGE), kind), first_us, all_of_them))
        else:
            found += [(subject, since_us, [subject]) for subject, since_us in each]
    return found
