"""The controller: compares the desired cameras with the actual state and repairs differences.

Everything that may take long has a loop of its own: the records, the gateway, the number of
workers, each worker, the status board, and each repair. None waits for another; what they found
last is judged together whenever one of them found something. No state is kept that cannot be
recovered: after a restart the records, the workers and the gateway are asked again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from cluster.bridge.units import StreamPhase
from cluster.controller.crew import Crew, Fleet, SeenWatcher
from cluster.controller.diagnosis import Diagnosis
from cluster.controller.gateway_streams import GatewayStreams, version_of
from cluster.controller.shares import capped, why_capped
from cluster.controller.state import CameraEvent as Event
from cluster.controller.state import (
    ObservedCamera,
    Repair,
    advance,
    coverage_of,
    event_of,
    repair,
)
from cluster.controller.streams import opens_too_long, substream_note
from cluster.controller.worker_loop import WorkerCallError
from cluster.core.aio import until_first_ends
from cluster.core.log import get_logger
from cluster.core.names import FRAMES_QUOTA
from cluster.core.settings import Settings
from cluster.media.gateway import MediaGateway, StreamName
from cluster.stores.bus import CameraStatus
from pipelines.clock import Clock
from pipelines.domain import CameraKey, CameraPlan, CameraState
from pipelines.errors import AtalaiaError
from pipelines.ledger import CoverageReport

log = get_logger("controller")

PAUSE_S = 0.1
"""Between two judgements, and between two writes of the status board: what is found meanwhile is
judged together."""
REPAIR_PAUSE_S = 2.0
"""Between two repairs of one camera, so that a LiveKit that refuses is not flooded."""
MAX_REPAIRS = 16
"""Dispatches under way at once."""


class Dispatcher(Protocol):
    """Dispatches watchers to rooms."""

    async def dispatch(self, key: CameraKey) -> None:
        """Request a watcher for the camera's room.

        Raises:
            AtalaiaError: LiveKit cannot be reached.
        """
        ...


class Plans(Protocol):
    async def plans(self) -> list[CameraPlan]: ...

    async def own_quotas(self, name: str) -> dict[str, int]: ...


class Board(Protocol):
    async def put_all(self, tenant: str, statuses: Iterable[CameraStatus]) -> None: ...


@dataclass(slots=True)
class _CameraEntry:
    """State of one camera that is kept between judgements.

    Attributes:
        dispatched_us: when a watcher was requested last; 0: none is on its way.
        repair_after_s: the next repair is not before this, in monotonic time.
    """

    version: str
    state: CameraState = CameraState.CONNECTING
    reason: str = ""
    since_us: int = 0
    dispatched_us: int = 0
    repair_after_s: float = 0.0
    enabled: bool = True


class Controller:
    """Reconciles until cancelled. Runs anywhere; `runtime.services` makes it a Ray actor.

    Args:
        observe: called with the status of all cameras whenever it is published.
        cover: called after each judgement with what it means for the coverage of all cameras.
        pause_s: see `PAUSE_S`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        plans: Plans,
        gateway: MediaGateway,
        fleet: Fleet,
        dispatcher: Dispatcher,
        board: Board,
        clock: Clock,
        observe: Callable[[Mapping[CameraKey, CameraStatus]], None] = lambda _: None,
        cover: Callable[[Mapping[CameraKey, CoverageReport]], None] = lambda _: None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._settings = settings
        self._observe = observe
        self._cover = cover
        self._plans = plans
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._board = board
        self._clock = clock
        self._pause_s = pause_s
        self._records_changed = asyncio.Event()
        self._streams_changed = asyncio.Event()
        self._something_found = asyncio.Event()
        self._judged = asyncio.Event()
        self._planned: dict[CameraKey, CameraPlan] | None = None
        self._wanted: dict[CameraKey, CameraPlan] = {}
        self._known: dict[CameraKey, _CameraEntry] = {}
        self._observed: dict[CameraKey, ObservedCamera] | None = None
        self._watchers: dict[CameraKey, SeenWatcher] = {}
        self._live_hosts: frozenset[int] = frozenset()
        self._repairs: dict[CameraKey, asyncio.Task[None]] = {}
        self._repair_slots = asyncio.Semaphore(MAX_REPAIRS)
        self._streams = GatewayStreams(gateway)
        self._crew = Crew(settings, fleet, gateway, self._streams, clock, self._something_found.set)
        self._diagnosis = Diagnosis(gateway, clock)
        self._tenants: set[str] = set()
        self.counts: Counter[str] = Counter()

    def changed(self) -> None:
        """The records changed: read them, and ask all workers, now."""
        self._records_changed.set()
        self._crew.ask_all()

    async def run(self) -> None:
        """Reconcile until cancelled; a step that failed is logged and tried again."""
        try:
            await until_first_ends(
                self._repeat("records", self._read_records, self._records_changed),
                self._repeat("gateway", self._sync_gateway, self._streams_changed),
                self._repeat("workers", self._crew.resize, self._crew.size_changed),
                self._repeat("judgement", self._judge, self._something_found, self._pause_s),
                self._repeat("status board", self._publish, self._judged, self._pause_s),
            )
        finally:
            await self._crew.aclose()
            await self._end_repairs()

    async def aclose(self) -> None:
        """Cancel background probes. Call after `run` was cancelled."""
        await self._diagnosis.aclose()

    async def _repeat(
        self,
        name: str,
        step: Callable[[], Awaitable[None]],
        wake: asyncio.Event,
        pause_s: float = 0.0,
    ) -> None:
        """Take a step whenever it is woken, and every few seconds."""
        while True:
            wake.clear()
            try:
                await step()
            except AtalaiaError as error:
                log.warning("step failed", step=name, error=str(error))
                self.counts["failed_steps"] += 1
            except Exception:
                # Top of the step's task: it must survive any bug.
                log.exception("step failed", step=name)
                self.counts["failed_steps"] += 1
            await asyncio.sleep(pause_s)
            try:
                async with asyncio.timeout(self._settings.controller.interval_s):
                    await wake.wait()
            except TimeoutError:
                continue

    # ------------------------------------------------------------ the steps

    async def _read_records(self) -> None:
        """While they cannot be read, what was read last holds."""
        plans = {plan.key: plan for plan in await self._plans.plans()}
        wanted = await self._capped(plans)
        self._planned, self._wanted = plans, wanted
        self._track_changes(plans)
        self._crew.want(self._wanted)
        self._streams_changed.set()
        self._something_found.set()

    async def _sync_gateway(self) -> None:
        if self._planned is None:
            return
        try:
            await self._streams.sync(self._wanted)
        finally:
            self._something_found.set()

    async def _judge(self) -> None:
        """Say what is true of each camera, and begin the repairs that are needed."""
        self._crew.place()
        if self._planned is None or not self._crew.settled:
            return
        self._watchers = self._crew.watchers()
        self._forget_dispatches()
        self._observed = {key: self._see(key, plan) for key, plan in self._planned.items()}
        for key, seen in self._observed.items():
            self._step(key, seen)
            self._begin_repair(key, seen)
        self._report_coverage(self._observed)
        self._crew.expect(self._dispatched())
        self._judged.set()

    async def _publish(self) -> None:
        if self._observed is None:
            return
        observed, watchers = self._observed, self._watchers
        statuses_by_key: dict[CameraKey, CameraStatus] = {}
        for key, seen in observed.items():
            if key in self._known:
                host = watchers[key].host if key in watchers else None
                statuses_by_key[key] = self._status(key, seen, host)
        self._observe(statuses_by_key)
        by_tenant: dict[str, list[CameraStatus]] = {tenant: [] for tenant in self._tenants}
        for key, status in statuses_by_key.items():
            by_tenant.setdefault(key.tenant, []).append(status)
        # Once cleared, a tenant without cameras needs no more boards.
        self._tenants |= by_tenant.keys()
        for tenant, statuses in by_tenant.items():
            await self._board.put_all(tenant, statuses)
        self._tenants = {key.tenant for key in statuses_by_key}

    # ------------------------------------------------------------ parts of a judgement

    def _see(self, key: CameraKey, plan: CameraPlan) -> ObservedCamera:
        now_us = self._clock.now_us()
        carried, watcher = self._crew.carried(key), self._watchers.get(key)
        current = carried is not None and carried.version == version_of(plan)
        return ObservedCamera(
            now_us=now_us,
            enabled=plan.camera.enabled,
            bridge=carried if current else None,
            watcher=watcher.status if watcher else None,
            watcher_age_us=now_us - watcher.asked_us if watcher else 0,
            gateway_error=self._streams.errors.get(key, ""),
            unreadable=plan.camera.unreadable_reason,
            analysed_fps=self._wanted.get(key, plan).camera.detect_fps,
            capped=why_capped(plan, self._wanted.get(key, plan)),
        )

    def _forget_dispatches(self) -> None:
        """Those that were fulfilled, so that a watcher which leaves is replaced at once; those that
        may have been on their way to a host which is gone; and those of the future, which were
        before the clock was set back."""
        lost = self._live_hosts - self._crew.live_hosts
        self._live_hosts = self._crew.live_hosts
        now_us = self._clock.now_us()
        for key, known in self._known.items():
            if lost or key in self._watchers or known.dispatched_us > now_us:
                known.dispatched_us = 0

    def _dispatched(self) -> set[CameraKey]:
        """Cameras whose watcher may join any moment."""
        since_us = self._clock.now_us() - self._settings.agents.dispatch_grace_s * 1e6
        return {
            key
            for key, known in self._known.items()
            if key not in self._watchers and known.dispatched_us > since_us
        }

    async def _capped(self, plans: dict[CameraKey, CameraPlan]) -> dict[CameraKey, CameraPlan]:
        """The plans of the cameras that are to run, as fast as their tenants' quotas allow."""
        running = [plan for plan in plans.values() if _can_run(plan)]
        usual = self._settings.quotas.analysed_frames_per_second
        return capped(running, usual, await self._plans.own_quotas(FRAMES_QUOTA))

    def _track_changes(self, plans: dict[CameraKey, CameraPlan]) -> None:
        """Forget removed cameras; new, changed and re-enabled ones start as connecting."""
        for key in self._known.keys() - plans.keys():
            del self._known[key]
            self._diagnosis.forget_camera(key)
        for key, plan in plans.items():
            version = version_of(plan)
            known = self._known.get(key)
            if known is None:
                self._known[key] = _CameraEntry(version, since_us=self._clock.now_us())
            elif known.version != version or (plan.camera.enabled and not known.enabled):
                known.version = version
                self._diagnosis.forget_camera(key)
                self._set_state(key, known, advance(known.state, Event.ENABLED), "")
            self._known[key].enabled = plan.camera.enabled

    def _step(self, key: CameraKey, seen: ObservedCamera) -> None:
        known = self._known[key]
        event, reason = event_of(seen, self._settings.controller.stale_after_s)
        main = StreamName(key)
        if event is Event.LOST and not (seen.gateway_error or seen.unreadable):
            reason = self._diagnosis.reason(main) or reason
        elif event is Event.OPENING and opens_too_long(seen):
            # Only what the relay knows: a probe would disturb a camera that is slow to open.
            if why := self._diagnosis.reason(main, probing=False):
                event, reason = Event.LOST, why
        elif event in (Event.WATCHED, Event.BLINDED, Event.VIDEO):
            self._diagnosis.forget(main)
        if event is Event.OPENING and known.state is CameraState.OFFLINE:
            reason = known.reason
        note = self._substream_note(key, seen)
        if event in (Event.WATCHED, Event.VIDEO, Event.UNWATCHED):
            reason = " ".join(filter(None, (reason, note)))
        self._set_state(key, known, advance(known.state, event), reason)

    def _substream_note(self, key: CameraKey, seen: ObservedCamera) -> str:
        """What the tenant should know of a camera's sub-stream; empty if there is nothing."""
        detect = seen.bridge.detect if seen.bridge is not None else None
        sub = StreamName(key, sub=True)
        if seen.bridge is None or detect is None or detect.phase is StreamPhase.STREAMING:
            self._diagnosis.forget(sub)
            why = ""
        else:
            failed = detect.phase is StreamPhase.FAILED
            why = self._diagnosis.reason(sub, probing=failed)
        return substream_note(seen, why)

    def _report_coverage(self, observed: dict[CameraKey, ObservedCamera]) -> None:
        stale_s = self._settings.controller.stale_after_s
        self._cover(
            {
                key: coverage_of(seen, self._known[key].state, stale_s)
                for key, seen in observed.items()
            }
        )

    def _set_state(
        self, key: CameraKey, known: _CameraEntry, state: CameraState, reason: str
    ) -> None:
        if state is not known.state:
            known.since_us = self._clock.now_us()
            log.info("camera state", camera=key.room, state=state.value, reason=reason)
        known.state, known.reason = state, reason

    def _status(self, key: CameraKey, seen: ObservedCamera, host: str | None) -> CameraStatus:
        known = self._known[key]
        main = seen.bridge.main if seen.bridge else None
        watcher = seen.watcher
        return CameraStatus(
            camera=key.camera,
            state=known.state,
            reason=known.reason,
            since_us=known.since_us,
            fps=main.fps if main else 0.0,
            width=main.width if main else 0,
            height=main.height if main else 0,
            codec=main.codec if main else "",
            host=host,
            watched_fps=watcher.analysed_fps if watcher else 0.0,
            skipped=watcher.skipped if watcher else {},
            dropped=watcher.dropped if watcher else {},
            last_frame_us=(main.last_capture_us or None) if main else None,
            recording=seen.bridge.recording if seen.bridge else None,
            unpublished=main.dropped if main else {},
        )

    # ------------------------------------------------------------ repairs

    def _begin_repair(self, key: CameraKey, seen: ObservedCamera) -> None:
        """Begin what this camera needs, beside the repairs of others."""
        known = self._known[key]
        if key in self._repairs or self._clock.monotonic() < known.repair_after_s:
            return
        needed = repair(
            seen,
            dispatched_us=known.dispatched_us,
            grace_s=self._settings.agents.dispatch_grace_s,
            stale_after_s=self._settings.controller.stale_after_s,
        )
        if needed is None or (needed is Repair.DISPATCH and not self._crew.can_watch):
            return  # what LiveKit cannot dispatch is lost, and waited for until its grace is over
        self.counts[needed.value] += 1
        log.info("repair", camera=key.room, repair=needed.value)
        known.repair_after_s = self._clock.monotonic() + REPAIR_PAUSE_S
        work = self._drop(key) if needed is Repair.DROP else self._dispatch(key)
        task = asyncio.create_task(work, name=f"{needed.value} {key.room}")
        self._repairs[key] = task
        task.add_done_callback(partial(self._repaired, key))

    async def _drop(self, key: CameraKey) -> None:
        try:
            await self._fleet.drop_watcher(self._watchers[key].index, key)
        except WorkerCallError as error:
            log.warning("watcher not dropped", camera=key.room, reason=error.event.value)
        if key in self._known:
            self._known[key].dispatched_us = 0

    async def _dispatch(self, key: CameraKey) -> None:
        try:
            async with self._repair_slots:
                await self._dispatcher.dispatch(key)
        except AtalaiaError as error:
            log.warning("watcher not dispatched", camera=key.room, error=error.message)
            return
        if key in self._known:
            self._known[key].dispatched_us = self._clock.now_us()

    def _repaired(self, key: CameraKey, task: asyncio.Task[None]) -> None:
        del self._repairs[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("repair failed", camera=key.room, error=repr(error))
        self._something_found.set()

    async def _end_repairs(self) -> None:
        tasks = list(self._repairs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _can_run(plan: CameraPlan) -> bool:
    """A camera whose URL does not decrypt is not pulled, while all others go on."""
    return plan.camera.enabled and not plan.camera.unreadable
