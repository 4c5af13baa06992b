"""The controller's reconciliation loop: compares desired with actual state and repairs differences.

It runs at start, on every change, and every few seconds. It holds no state that it cannot recover:
after a restart it reads the records, the actors and the gateway again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr

from cluster.bridge.units import BridgeCamera, BridgeStatus, CameraBridgeStatus, StreamPhase
from cluster.controller.diagnosis import Diagnosis
from cluster.controller.placement import place, workers_for
from cluster.controller.reports import HostStatus, WatcherStatus
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
from cluster.core.log import get_logger
from cluster.core.names import FRAMES_QUOTA
from cluster.core.settings import Settings
from cluster.media.gateway import MediaGateway, StreamName
from cluster.stores.bus import CameraStatus
from pipelines.clock import Clock
from pipelines.domain import CameraKey, CameraPlan, CameraState, RecordingMode
from pipelines.errors import AtalaiaError
from pipelines.ledger import CoverageReport

log = get_logger("controller")


class Fleet(Protocol):
    """The workers of the cluster, wherever they run. Calls return None if the worker is down."""

    async def sync_bridge(
        self, index: int, cameras: tuple[BridgeCamera, ...]
    ) -> BridgeStatus | None: ...

    async def sync_host(
        self, index: int, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus | None: ...

    async def drop_watcher(self, index: int, key: CameraKey) -> None: ...

    async def resize(self, bridges: int, hosts: int) -> None:
        """Start missing workers and stop surplus ones."""
        ...


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
    """State of one camera that is kept between rounds."""

    version: str
    state: CameraState = CameraState.CONNECTING
    reason: str = ""
    since_us: int = 0
    dispatched_us: int = 0
    enabled: bool = True


@dataclass(slots=True)
class _HostLink:
    """The plans that a host has received, so that only changes are sent.

    Attributes:
        incarnation: of the host's process that received them.
        sent: of each camera's plan, the revision and the frames per second.
    """

    incarnation: str = ""
    sent: dict[CameraKey, tuple[int, float]] = field(default_factory=dict)


class Controller:
    """Reconciles until cancelled. Runs anywhere; `runtime.services` makes it a Ray actor.

    Args:
        observe: called after each round with the status of all cameras.
        cover: called in each round with what it means for the coverage of all cameras.
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
    ) -> None:
        self._settings = settings
        self._observe = observe
        self._cover = cover
        self._plans = plans
        self._gateway = gateway
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._board = board
        self._clock = clock
        self._wake = asyncio.Event()
        self._known: dict[CameraKey, _CameraEntry] = {}
        self._placement: dict[CameraKey, int] = {}
        self._bridge_count = 0
        self._links: dict[int, _HostLink] = {}
        self._gateway_errors: dict[CameraKey, str] = {}
        self._gateway_urls: dict[str, str] = {}
        self._diagnosis = Diagnosis(gateway, clock)
        self._tenants: set[str] = set()
        self.counts: Counter[str] = Counter()

    def changed(self) -> None:
        """The records changed: start the next round now."""
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled; a failed round is logged and retried in the next one."""
        while True:
            self._wake.clear()
            try:
                await self.reconcile()
            except AtalaiaError as error:
                log.warning("round failed", error=str(error))
                self.counts["failed_rounds"] += 1
            except Exception:
                # Top of the reconciliation task: it must survive any bug.
                log.exception("round failed")
                self.counts["failed_rounds"] += 1
            try:
                async with asyncio.timeout(self._settings.controller.interval_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def aclose(self) -> None:
        """Cancel background probes. Call after `run` was cancelled."""
        await self._diagnosis.aclose()

    async def reconcile(self) -> None:
        """One round: observe all cameras, publish their states, repair differences.

        Raises:
            AtalaiaError: the records, the gateway or the status board is unavailable.
        """
        plans = {plan.key: plan for plan in await self._plans.plans()}
        wanted = await self._wanted(plans)
        self._track_changes(plans)
        await self._sync_gateway(wanted)
        capacity = self._settings.agents.cameras_per_host
        hosts = workers_for(len(wanted), capacity)
        self._placement = place(wanted, self._placement, self._settings.bridge.cameras_per_actor)
        bridges = workers_for(len(wanted), self._settings.bridge.cameras_per_actor)
        await self._fleet.resize(bridges, hosts)
        bridge_statuses, watchers = await asyncio.gather(
            self._sync_bridges(wanted, bridges), self._sync_hosts(wanted, hosts)
        )
        observed = {
            key: ObservedCamera(
                now_us=self._clock.now_us(),
                enabled=plan.camera.enabled,
                bridge=bridge_statuses.get(key),
                watcher=watchers[key][1] if key in watchers else None,
                gateway_error=self._gateway_errors.get(key, ""),
                unreadable=plan.camera.unreadable_reason,
                analysed_fps=wanted.get(key, plan).camera.detect_fps,
                capped=why_capped(plan, wanted.get(key, plan)),
            )
            for key, plan in plans.items()
        }
        for key, seen in observed.items():
            self._step(key, seen)
        self._report_coverage(observed)
        await self._publish(observed, watchers)
        await self._repair(observed, watchers)

    # ------------------------------------------------------------ parts of a round

    async def _wanted(self, plans: dict[CameraKey, CameraPlan]) -> dict[CameraKey, CameraPlan]:
        """The plans of the cameras that are to run, as fast as their tenants' quotas allow."""
        running = [plan for plan in plans.values() if _can_run(plan)]
        usual = self._settings.quotas.analysed_frames_per_second
        return capped(running, usual, await self._plans.own_quotas(FRAMES_QUOTA))

    def _track_changes(self, plans: dict[CameraKey, CameraPlan]) -> None:
        """Forget removed cameras; new, changed and re-enabled ones start as connecting."""
        for key in self._known.keys() - plans.keys():
            del self._known[key]
            self._gateway_errors.pop(key, None)
            self._diagnosis.forget_camera(key)
        for key, plan in plans.items():
            version = _version(plan)
            known = self._known.get(key)
            if known is None:
                self._known[key] = _CameraEntry(version, since_us=self._clock.now_us())
            elif known.version != version or (plan.camera.enabled and not known.enabled):
                known.version = version
                self._diagnosis.forget_camera(key)
                self._set_state(key, known, advance(known.state, Event.ENABLED), "")
            self._known[key].enabled = plan.camera.enabled

    async def _sync_gateway(self, wanted: dict[CameraKey, CameraPlan]) -> None:
        streams: dict[str, tuple[CameraKey, SecretStr]] = {}
        for key, plan in wanted.items():
            streams[key.room] = (key, plan.camera.url)
            if plan.camera.substream_url is not None:
                streams[str(StreamName(key, sub=True))] = (key, plan.camera.substream_url)
        self._gateway_errors.clear()
        present = await self._gateway.names()
        for name in present - streams.keys():
            await self._gateway.remove(name)
            self._gateway_urls.pop(name, None)
        for name, (key, url) in streams.items():
            digest = _digest(url.get_secret_value())
            if name in present and self._gateway_urls.get(name) == digest:
                continue
            try:
                await self._gateway.ensure(name, url)
                self._gateway_urls[name] = digest
            except AtalaiaError as error:
                self._gateway_errors[key] = error.message

    async def _sync_bridges(
        self, wanted: dict[CameraKey, CameraPlan], bridges: int
    ) -> dict[CameraKey, CameraBridgeStatus]:
        assignments: list[list[BridgeCamera]] = [[] for _ in range(bridges)]
        for key, plan in wanted.items():
            assignments[self._placement[key]].append(self._assignment(plan))
        statuses = await asyncio.gather(
            *(self._fleet.sync_bridge(i, tuple(cameras)) for i, cameras in enumerate(assignments))
        )
        return {c.key: c for status in statuses if status for c in status.cameras}

    def _assignment(self, plan: CameraPlan) -> BridgeCamera:
        main, sub = StreamName(plan.key), StreamName(plan.key, sub=True)
        has_sub = plan.camera.substream_url is not None
        return BridgeCamera(
            key=plan.key,
            main_url=self._gateway.rtsp_url(str(main), sound=_records_audio(plan)),
            detect_url=self._gateway.rtsp_url(str(sub)) if has_sub else None,
            version=_version(plan),
            recording=plan.camera.recording,
            masks=plan.camera.masks,
        )

    async def _sync_hosts(
        self, wanted: dict[CameraKey, CameraPlan], hosts: int
    ) -> dict[CameraKey, tuple[int, WatcherStatus, str]]:
        """Send the plans to every host, as LiveKit may dispatch any camera to any of them.

        Returns:
            For each watched camera, the host's index, the watcher's status and the host's name.
        """
        for index in self._links.keys() - set(range(hosts)):
            del self._links[index]
        statuses = await asyncio.gather(*(self._sync_host(i, wanted) for i in range(hosts)))
        watchers: dict[CameraKey, tuple[int, WatcherStatus, str]] = {}
        for index, status in enumerate(statuses):
            for watcher in status.watchers if status else ():
                other = watchers.get(watcher.key)
                if other is None or watcher.since_us > other[1].since_us:
                    assert status is not None
                    watchers[watcher.key] = (index, watcher, status.name)
        return watchers

    async def _sync_host(
        self, index: int, wanted: dict[CameraKey, CameraPlan]
    ) -> HostStatus | None:
        link = self._links.setdefault(index, _HostLink())
        sending = {key: (p.revision, p.camera.detect_fps) for key, p in wanted.items()}
        changed = tuple(p for key, p in wanted.items() if link.sent.get(key) != sending[key])
        removed = tuple(link.sent.keys() - sending.keys())
        status = await self._fleet.sync_host(index, changed, removed)
        if status is not None and status.incarnation != link.incarnation and link.incarnation:
            # It restarted since the last round and has no plans: send all of them.
            status = await self._fleet.sync_host(index, tuple(wanted.values()), ())
        if status is not None and (left := tuple(status.revisions.keys() - wanted.keys())):
            # These cameras were removed while the host or this controller was down.
            status = await self._fleet.sync_host(index, (), left)
        if status is None:
            link.sent = {}
            return None
        link.incarnation, link.sent = status.incarnation, sending
        return status

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

    async def _publish(
        self,
        observed: dict[CameraKey, ObservedCamera],
        watchers: dict[CameraKey, tuple[int, WatcherStatus, str]],
    ) -> None:
        statuses_by_key: dict[CameraKey, CameraStatus] = {}
        for key, seen in observed.items():
            host = watchers[key][2] if key in watchers else None
            statuses_by_key[key] = self._status(key, seen, host)
        self._observe(statuses_by_key)
        by_tenant: dict[str, list[CameraStatus]] = {tenant: [] for tenant in self._tenants}
        for key, status in statuses_by_key.items():
            by_tenant.setdefault(key.tenant, []).append(status)
        self._tenants = {key.tenant for key in observed}
        for tenant, statuses in by_tenant.items():
            await self._board.put_all(tenant, statuses)

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

    async def _repair(
        self,
        observed: dict[CameraKey, ObservedCamera],
        watchers: dict[CameraKey, tuple[int, WatcherStatus, str]],
    ) -> None:
        for key, seen in observed.items():
            known = self._known[key]
            needed = repair(
                seen,
                dispatched_us=known.dispatched_us,
                grace_s=self._settings.agents.dispatch_grace_s,
                stale_after_s=self._settings.controller.stale_after_s,
            )
            if needed is None:
                continue
            self.counts[needed.value] += 1
            log.info("repair", camera=key.room, repair=needed.value)
            if needed is Repair.DROP:
                await self._fleet.drop_watcher(watchers[key][0], key)
                known.dispatched_us = 0
                continue
            try:
                await self._dispatcher.dispatch(key)
                known.dispatched_us = self._clock.now_us()
            except AtalaiaError as error:
                log.warning("watcher not dispatched", camera=key.room, error=error.message)


def _can_run(plan: CameraPlan) -> bool:
    """A camera whose URL does not decrypt is not pulled, while all others go on."""
    return plan.camera.enabled and not plan.camera.unreadable


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _version(plan: CameraPlan) -> str:
    """A hash that changes when the camera must be pulled again; does not reveal the URL."""
    camera = plan.camera
    sub = camera.substream_url.get_secret_value() if camera.substream_url else ""
    sound = "\0sound" if _records_audio(plan) else ""
    return _digest(f"{camera.url.get_secret_value()}\0{sub}{sound}")


def _records_audio(plan: CameraPlan) -> bool:
    recording = plan.camera.recording
    return recording.audio and recording.mode is not RecordingMode.OFF
