"""The workers of a cluster: how many there are, who carries what, what each of them said last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from cluster.bridge.units import BridgeCamera, BridgeStatus, CameraBridgeStatus, StreamPhase
from cluster.controller.gateway_streams import GatewayStreams, records_audio
from cluster.controller.health import Health, WorkerKind
from cluster.controller.placement import place, workers_for
from cluster.controller.reports import HostStatus, WatcherStatus
from cluster.controller.worker_loop import Report, WorkerCalls, WorkerLoop
from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.media.gateway import MediaGateway, StreamName
from pipelines.clock import Clock
from pipelines.domain import CameraKey, CameraPlan

log = get_logger("workers")

EAGER_S = 0.5
"""Between two questions to a worker from which a change is expected, and to one that is down. A
question costs some 2 ms of both processes."""


class Fleet(Protocol):
    """The workers, wherever they run. Calls to a worker raise WorkerCallError."""

    async def find(self) -> tuple[int, int]:
        """How many bridges and hosts an earlier controller left running."""
        ...

    async def resize(self, bridges: int, hosts: int) -> None:
        """Start missing workers and stop surplus ones, those with the highest numbers."""
        ...

    async def report_bridge(self, index: int) -> BridgeStatus:
        """The status of a bridge, which goes on with what it has."""
        ...

    async def sync_bridge(self, index: int, cameras: tuple[BridgeCamera, ...]) -> BridgeStatus: ...

    async def sync_host(
        self, index: int, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus: ...

    async def drop_watcher(self, index: int, key: CameraKey) -> None: ...

    async def ended(self, kind: WorkerKind, index: int) -> bool:
        """Wait for the end of a worker's process; False if it was watched long enough."""
        ...

    async def kill(self, kind: WorkerKind, index: int) -> None:
        """End a worker's process; another starts in its place."""
        ...


@dataclass(frozen=True, slots=True)
class SeenWatcher:
    """A watcher, the host that has it, and when that was asked, UTC microseconds."""

    status: WatcherStatus
    index: int
    host: str
    asked_us: int


@dataclass(slots=True)
class _HostLink:
    """The plans that a host has received, so that only changes are sent.

    Attributes:
        incarnation: of the host's process that received them.
        sent: of each camera's plan, the revision and the frames per second.
    """

    incarnation: str = ""
    sent: dict[CameraKey, tuple[int, float]] = field(default_factory=dict)


class Crew:
    """Has a loop for each worker. Spare workers are workers that carry nothing yet.

    Args:
        on_change: called when a worker answered or its health changed.
    """

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        gateway: MediaGateway,
        streams: GatewayStreams,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.size_changed = asyncio.Event()
        self._settings = settings
        self._fleet = fleet
        self._gateway = gateway
        self._streams = streams
        self._clock = clock
        self._on_change = on_change
        self._wanted: Mapping[CameraKey, CameraPlan] | None = None
        self._expected: set[CameraKey] = set()
        self._found: tuple[int, int] | None = None
        self._size = (0, 0)
        self._target = (0, 0)
        self._bridges: dict[int, WorkerLoop[BridgeStatus]] = {}
        self._hosts: dict[int, WorkerLoop[HostStatus]] = {}
        self._tasks: dict[tuple[WorkerKind, int], asyncio.Task[None]] = {}
        self._links: dict[int, _HostLink] = {}
        self._placement: dict[CameraKey, int] = {}
        self._assignments: dict[int, tuple[BridgeCamera, ...]] = {}
        self._indexed: dict[
            int, tuple[Report[BridgeStatus], dict[CameraKey, CameraBridgeStatus]]
        ] = {}

    # ------------------------------------------------------------ the controller's orders

    def want(self, wanted: Mapping[CameraKey, CameraPlan]) -> None:
        """These cameras are to run. Returns at once; the loops see to it."""
        self._wanted = wanted
        if self._wanted_size() != self._target:
            self.size_changed.set()
        sending = _sendings(wanted)
        for index, host in self._hosts.items():
            if sending != self._links[index].sent:
                host.wake()

    def expect(self, dispatched: set[CameraKey]) -> None:
        """Watchers of these cameras are on their way: ask hosts more often."""
        if dispatched - self._expected:
            self._wake(self._hosts)
        self._expected = dispatched

    def ask_all(self) -> None:
        """Ask every worker now."""
        self._wake(self._hosts)
        self._wake(self._bridges)

    async def resize(self) -> None:
        """Bring the number of workers to what is wanted, and give each a loop."""
        if self._wanted is None:
            return
        if self._found is None:
            self._found = self._size = await self._fleet.find()
        target = self._target = self._wanted_size()
        await self._end_loops(target)
        await self._fleet.resize(*target)
        self._size = target
        for index in range(target[0]):
            if index not in self._bridges:
                self._start_bridge(index, adopted=index < self._found[0])
        for index in range(target[1]):
            if index not in self._hosts:
                self._start_host(index, adopted=index < self._found[1])
        self._found = (0, 0)  # what is started from now on is new
        self._on_change()

    def place(self) -> None:
        """Give every camera a bridge that answers, as far as there is room; wake those bridges
        whose cameras changed."""
        wanted = self._wanted or {}
        bridges = self._bridges.items()
        usable = {index for index, loop in bridges if loop.health is Health.UP}
        # One of these may carry cameras whose place is not known yet.
        unsure = any(loop.health is Health.UNKNOWN for _, loop in bridges)
        candidates = [key for key in wanted if key in self._placement or not unsure]
        kept = {key: at for key, at in self._placement.items() if key in wanted and self._held(at)}
        moving = [key for key in candidates if key not in kept]
        capacity = self._settings.bridge.cameras_per_actor
        self._placement = place(moving, self._placement, usable, capacity) | kept
        carried: dict[int, list[BridgeCamera]] = {index: [] for index in self._bridges}
        for key, index in self._placement.items():
            version = self._version(key, index)
            if version and index in carried:
                carried[index].append(self._assignment(wanted[key], version))
        for index, cameras in carried.items():
            assigned = tuple(sorted(cameras, key=lambda camera: camera.key))
            if self._assignments.get(index, ()) != assigned:
                self._assignments[index] = assigned
                self._bridges[index].wake()

    async def aclose(self) -> None:
        """End the loops; the workers go on."""
        await self._end_loops((0, 0))

    # ------------------------------------------------------------ what the workers said

    @property
    def settled(self) -> bool:
        """Whether every worker of an earlier controller was asked what it carries."""
        loops: list[WorkerLoop[Any]] = [*self._bridges.values(), *self._hosts.values()]
        asked = (loop.tried or loop.health is not Health.UNKNOWN for loop in loops)
        return bool(loops) and all(asked)

    @property
    def live_hosts(self) -> frozenset[int]:
        return frozenset(i for i, loop in self._hosts.items() if loop.health is Health.UP)

    @property
    def can_watch(self) -> bool:
        """Whether LiveKit has a host to which it can dispatch."""
        reports = (loop.report for loop in self._hosts.values())
        return any(report is not None and report.status.registered for report in reports)

    def carried(self, key: CameraKey) -> CameraBridgeStatus | None:
        """What the bridge of a camera said of it."""
        return self._reported(key, self._placement.get(key, -1))

    def watchers(self) -> dict[CameraKey, SeenWatcher]:
        """The watcher of each camera that has one; of two, the one that joined later."""
        found: dict[CameraKey, SeenWatcher] = {}
        for index, loop in self._hosts.items():
            report = loop.report
            for watcher in report.status.watchers if report else ():
                other = found.get(watcher.key)
                if other is None or watcher.since_us > other.status.since_us:
                    assert report is not None
                    found[watcher.key] = SeenWatcher(
                        watcher, index, report.status.name, report.asked_us
                    )
        return found

    # ------------------------------------------------------------ inside

    def _wanted_size(self) -> tuple[int, int]:
        cameras, spares = len(self._wanted or {}), self._settings.controller.spares
        return (
            workers_for(cameras, self._settings.bridge.cameras_per_actor) + spares,
            workers_for(cameras, self._settings.agents.cameras_per_host) + spares,
        )

    def _held(self, index: int) -> bool:
        """Whether that bridge is being ended: until it has ended, its cameras go nowhere else."""
        return self._target[0] <= index < self._size[0]

    def _reported(self, key: CameraKey, index: int) -> CameraBridgeStatus | None:
        loop = self._bridges.get(index)
        if loop is None or loop.report is None:
            return None
        indexed = self._indexed.get(index)
        if indexed is None or indexed[0] is not loop.report:
            by_key = {camera.key: camera for camera in loop.report.status.cameras}
            indexed = self._indexed[index] = (loop.report, by_key)
        return indexed[1].get(key)

    def _version(self, key: CameraKey, index: int) -> str:
        """What the bridge is to carry: what the gateway was given, or, before this controller
        reached the gateway, what the bridge carries already. Empty: nothing yet."""
        if version := self._streams.versions.get(key):
            return version
        reported = self._reported(key, index)
        return reported.version if reported else ""

    def _assignment(self, plan: CameraPlan, version: str) -> BridgeCamera:
        main, sub = StreamName(plan.key), StreamName(plan.key, sub=True)
        has_sub = plan.camera.substream_url is not None
        return BridgeCamera(
            key=plan.key,
            main_url=self._gateway.rtsp_url(str(main), sound=records_audio(plan)),
            detect_url=self._gateway.rtsp_url(str(sub)) if has_sub else None,
            version=version,
            recording=plan.camera.recording,
            masks=plan.camera.masks,
        )

    def _start_bridge(self, index: int, *, adopted: bool) -> None:
        calls = WorkerCalls(
            ask=partial(self._ask_bridge, index),
            ended=partial(self._fleet.ended, WorkerKind.BRIDGE, index),
            kill=partial(self._fleet.kill, WorkerKind.BRIDGE, index),
            pace_s=partial(self._bridge_pace_s, index),
            on_change=self._on_change,
        )
        loop = WorkerLoop(f"bridge {index}", calls, self._clock, adopted=adopted)
        self._bridges[index] = loop
        self._run(WorkerKind.BRIDGE, index, loop)

    def _start_host(self, index: int, *, adopted: bool) -> None:
        calls = WorkerCalls(
            ask=partial(self._ask_host, index),
            ended=partial(self._fleet.ended, WorkerKind.HOST, index),
            kill=partial(self._fleet.kill, WorkerKind.HOST, index),
            pace_s=partial(self._host_pace_s, index),
            on_change=self._on_change,
        )
        loop = WorkerLoop(f"host {index}", calls, self._clock, adopted=adopted)
        self._hosts[index], self._links[index] = loop, _HostLink()
        self._run(WorkerKind.HOST, index, loop)

    def _run(self, kind: WorkerKind, index: int, loop: WorkerLoop[Any]) -> None:
        self._tasks[kind, index] = asyncio.create_task(loop.run(), name=f"{kind.value} {index}")

    async def _end_loops(self, size: tuple[int, int]) -> None:
        limits = {WorkerKind.BRIDGE: size[0], WorkerKind.HOST: size[1]}
        surplus = [at for at in self._tasks if at[1] >= limits[at[0]]]
        tasks = [self._tasks.pop(at) for at in surplus]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for kind, index in surplus:
            if kind is WorkerKind.BRIDGE:
                del self._bridges[index]
                self._indexed.pop(index, None)
                self._assignments.pop(index, None)
            else:
                del self._hosts[index], self._links[index]

    async def _ask_bridge(self, index: int) -> BridgeStatus:
        if self._bridges[index].health is Health.UNKNOWN:
            status = await self._fleet.report_bridge(index)
            for camera in status.cameras:
                self._placement.setdefault(camera.key, index)
            return status
        return await self._fleet.sync_bridge(index, self._assignments.get(index, ()))

    async def _ask_host(self, index: int) -> HostStatus:
        """Send what is new: LiveKit may dispatch any camera to any host, so all get all plans."""
        link, wanted = self._links[index], self._wanted or {}
        sending = _sendings(wanted)
        changed = tuple(p for key, p in wanted.items() if link.sent.get(key) != sending[key])
        removed = tuple(link.sent.keys() - sending.keys())
        status = await self._fleet.sync_host(index, changed, removed)
        if status.incarnation != link.incarnation and link.incarnation:
            # It restarted since it was asked last and has no plans: send all of them.
            status = await self._fleet.sync_host(index, tuple(wanted.values()), ())
        if left := tuple(status.revisions.keys() - wanted.keys()):
            # These cameras were removed while the host or this controller was down.
            status = await self._fleet.sync_host(index, (), left)
        link.incarnation, link.sent = status.incarnation, sending
        return status

    def _bridge_pace_s(self, index: int) -> float:
        loop = self._bridges[index]
        cameras = loop.report.status.cameras if loop.report else ()
        carried = {camera.key for camera in cameras if _has_begun(camera)}
        coming = {camera.key for camera in self._assignments.get(index, ())} - carried
        return self._pace_s(loop.health, eager=bool(coming))

    def _host_pace_s(self, index: int) -> float:
        eager = bool(self._expected - self.watchers().keys())
        return self._pace_s(self._hosts[index].health, eager=eager)

    def _pace_s(self, health: Health, *, eager: bool) -> float:
        interval_s = self._settings.controller.interval_s
        return min(EAGER_S, interval_s) if eager or health is not Health.UP else interval_s

    @staticmethod
    def _wake(loops: Mapping[int, WorkerLoop[Any]]) -> None:
        for loop in loops.values():
            loop.wake()


def _sendings(wanted: Mapping[CameraKey, CameraPlan]) -> dict[CameraKey, tuple[int, float]]:
    """What tells a plan from the one that a host has: quotas change the rate of a revision."""
    return {key: (plan.revision, plan.camera.detect_fps) for key, plan in wanted.items()}


def _has_begun(camera: CameraBridgeStatus) -> bool:
    """Whether it plays in its room, or failed; if not, that comes any moment."""
    if camera.main.phase is StreamPhase.STREAMING:
        return camera.in_room
    return camera.main.phase is StreamPhase.FAILED
