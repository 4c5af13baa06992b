"""The controller with fake workers: what it repairs, and what it leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from pydantic import SecretStr

from cluster.bridge.units import (
    BridgeCamera,
    BridgeStatus,
    CameraBridgeStatus,
    StreamPhase,
    StreamStatus,
)
from cluster.controller.controller import Controller
from cluster.controller.health import WorkerEvent, WorkerKind
from cluster.controller.reports import HostStatus, WatcherStatus
from cluster.controller.worker_loop import WorkerCallError
from cluster.core.settings import AgentSettings, BridgeSettings, ControllerSettings, Settings
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.gateway import ProbeResult
from cluster.stores.bus import CameraStatus
from pipelines.clock import ManualClock
from pipelines.domain import (
    Camera,
    CameraKey,
    CameraPlan,
    CameraState,
    Recording,
    RecordingMode,
    UnreadableSecret,
)
from pipelines.errors import CameraError, UnavailableError

GATE = CameraKey("acme", "gate")
SETTINGS = Settings(
    bridge=BridgeSettings(cameras_per_actor=2),
    agents=AgentSettings(cameras_per_host=2),
    # Nothing happens by itself: tests move the clock, and say that something changed.
    controller=ControllerSettings(interval_s=60, spares=0),
)
TURNS = 60
"""Of the event loop, until everything that one change sets off has happened; none waits for I/O."""


def _plan(key: CameraKey, *, revision: int = 1, enabled: bool = True, url: str = "u") -> CameraPlan:
    camera = Camera(
        tenant=key.tenant,
        id=key.camera,
        name=key.camera,
        url=SecretStr(f"rtsp://{url}/"),
        enabled=enabled,
    )
    return CameraPlan(camera=camera, revision=revision)


@dataclass
class World:
    """Fake workers that comply at once, unless a test breaks them."""

    clock: ManualClock
    plans_now: dict[CameraKey, CameraPlan] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)
    bridges: dict[int, tuple[BridgeCamera, ...]] = field(default_factory=dict)
    dead: set[tuple[WorkerKind, int]] = field(default_factory=set)
    hanging: set[tuple[WorkerKind, int]] = field(default_factory=set)
    killed: list[tuple[WorkerKind, int]] = field(default_factory=list)
    deaths: dict[tuple[WorkerKind, int], asyncio.Event] = field(default_factory=dict)
    running: tuple[int, int] = (0, 0)
    failed: dict[CameraKey, str] = field(default_factory=dict)
    host_plans: dict[int, dict[CameraKey, int]] = field(default_factory=dict)
    host_lives: dict[int, int] = field(default_factory=dict)
    watchers: dict[CameraKey, int] = field(default_factory=dict)
    dispatches: list[CameraKey] = field(default_factory=list)
    drops: list[CameraKey] = field(default_factory=list)
    sent: list[CameraKey] = field(default_factory=list)
    refuse_dispatch: bool = False
    livekit_away: bool = False
    slow_dispatch: bool = False
    records_away: bool = False
    gateway_away: bool = False
    board_away: bool = False
    moves: list[tuple[int, tuple[BridgeCamera, ...]]] = field(default_factory=list)
    mute_watchers: bool = False
    mute_since_us: int | None = None
    statuses: dict[str, dict[str, CameraStatus]] = field(default_factory=dict)
    gateway_refuses: set[str] = field(default_factory=set)
    probes: list[str] = field(default_factory=list)
    relay_knows: dict[str, CameraProblem] = field(default_factory=dict)
    opening_since_us: dict[CameraKey, int] = field(default_factory=dict)
    substreams: dict[CameraKey, StreamStatus] = field(default_factory=dict)
    frame_quotas: dict[str, int] = field(default_factory=dict)
    rates: dict[CameraKey, float] = field(default_factory=dict)

    # Plans
    async def plans(self) -> list[CameraPlan]:
        if self.records_away:
            raise UnavailableError("the records are away")
        return list(self.plans_now.values())

    async def own_quotas(self, name: str) -> dict[str, int]:
        assert name == "analysed-frames-per-second"
        return self.frame_quotas

    # MediaGateway
    async def ensure(self, name: str, url: SecretStr) -> bool:
        if name in self.gateway_refuses:
            raise CameraError("the gateway does not take this URL")
        changed = self.streams.get(name) != url.get_secret_value()
        self.streams[name] = url.get_secret_value()
        return changed

    async def remove(self, name: str) -> None:
        self.streams.pop(name, None)

    async def names(self) -> set[str]:
        if self.gateway_away:
            raise UnavailableError("the gateway is away")
        return set(self.streams)

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        return SecretStr(f"rtsp://gateway/{name}{'?sound' if sound else ''}")

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        self.probes.append(str(target))
        raise CameraError("the gateway knows why")

    async def why(self, name: str) -> UnreadableCameraError | None:
        problem = self.relay_knows.get(name)
        return UnreadableCameraError(problem) if problem else None

    async def aclose(self) -> None:
        self.streams.clear()

    # Fleet
    async def find(self) -> tuple[int, int]:
        return self.running

    async def resize(self, bridges: int, hosts: int) -> None:
        self.running = (bridges, hosts)
        self.bridges = {i: cameras for i, cameras in self.bridges.items() if i < bridges}
        for index in range(hosts):
            self.host_plans.setdefault(index, {})
            self.host_lives.setdefault(index, 1)

    async def report_bridge(self, index: int) -> BridgeStatus:
        await self._call(WorkerKind.BRIDGE, index)
        cameras = self.bridges.get(index, ())
        return BridgeStatus("b", tuple(self._bridge_status(c) for c in cameras), 0)

    async def sync_bridge(self, index: int, cameras: tuple[BridgeCamera, ...]) -> BridgeStatus:
        await self._call(WorkerKind.BRIDGE, index)
        self.bridges[index] = cameras
        self.moves.append((index, cameras))
        return await self.report_bridge(index)

    async def _call(self, kind: WorkerKind, index: int) -> None:
        if (kind, index) in self.dead:
            raise WorkerCallError(WorkerEvent.GONE)
        if (kind, index) in self.hanging:
            await asyncio.Event().wait()

    async def ended(self, kind: WorkerKind, index: int) -> bool:
        await self.deaths.setdefault((kind, index), asyncio.Event()).wait()
        return True

    async def kill(self, kind: WorkerKind, index: int) -> None:
        self.killed.append((kind, index))

    def _bridge_status(self, camera: BridgeCamera) -> CameraBridgeStatus:
        if camera.key in self.failed:
            main = StreamStatus(phase=StreamPhase.FAILED, reason=self.failed[camera.key])
        elif camera.key in self.opening_since_us:
            main = StreamStatus(since_us=self.opening_since_us[camera.key])
        else:
            dropped = {"lost_by_sdk": 3}
            main = StreamStatus(
                phase=StreamPhase.STREAMING, since_us=1, dropped=dropped, width=1920, height=1080
            )
        return CameraBridgeStatus(
            camera.key,
            camera.version,
            not self.livekit_away,
            main,
            self.substreams.get(camera.key),
        )

    async def sync_host(
        self, index: int, changed: tuple[CameraPlan, ...], removed: tuple[CameraKey, ...]
    ) -> HostStatus:
        await self._call(WorkerKind.HOST, index)
        plans = self.host_plans[index]
        self.sent += [plan.key for plan in changed]
        self.rates |= {plan.key: plan.camera.detect_fps for plan in changed}
        plans.update({plan.key: plan.revision for plan in changed})
        for key in removed:
            plans.pop(key, None)
        self.watchers = {k: h for k, h in self.watchers.items() if h != index or k in plans}
        now = self.clock.now_us()
        last = 0 if self.mute_watchers else self.mute_since_us or now
        watchers = tuple(
            WatcherStatus(k, 1, plans[k], last, last, 25.0, 5.0, 1, 1, 0, {}, {})
            for k, host in self.watchers.items()
            if host == index
        )
        life = str(self.host_lives[index])
        return HostStatus(life, f"host-{index}", True, watchers, dict(plans), {}, 0)

    async def drop_watcher(self, index: int, key: CameraKey) -> None:
        self.drops.append(key)
        self.watchers.pop(key, None)

    def end(self, kind: WorkerKind, index: int) -> None:
        """Its process ends, and whoever watches it learns so."""
        self.dead.add((kind, index))
        self.deaths.setdefault((kind, index), asyncio.Event()).set()

    def start_again(self) -> None:
        """In the place of every dead worker there is a new one, which carries nothing."""
        for kind, index in self.dead:
            if kind is WorkerKind.BRIDGE:
                self.bridges[index] = ()
            self.deaths.pop((kind, index), None)
        self.dead.clear()

    def restart_host(self, index: int) -> None:
        self.host_plans[index] = {}
        self.host_lives[index] += 1
        self.watchers = {k: h for k, h in self.watchers.items() if h != index}

    # Dispatcher
    async def dispatch(self, key: CameraKey) -> None:
        if self.livekit_away:
            raise UnavailableError("LiveKit is away")
        if self.slow_dispatch:
            await asyncio.Event().wait()
        self.dispatches.append(key)
        if not self.refuse_dispatch:
            hosts = range(self.running[1])
            self.watchers[key] = next(i for i in hosts if (WorkerKind.HOST, i) not in self.dead)

    # Board
    async def put_all(self, tenant: str, statuses: Iterable[CameraStatus]) -> None:
        if self.board_away:
            raise UnavailableError("Redis is away")
        self.statuses[tenant] = {status.camera: status for status in statuses}

    def state(self, key: CameraKey) -> tuple[CameraState, str]:
        status = self.statuses[key.tenant][key.camera]
        return status.state, status.reason


@pytest.fixture
def world() -> World:
    return World(ManualClock())


@pytest_asyncio.fixture
async def controller(world: World) -> AsyncIterator[Controller]:
    async with _running(world) as controller:
        yield controller


@contextlib.asynccontextmanager
async def _running(world: World, settings: Settings = SETTINGS) -> AsyncIterator[Controller]:
    controller = Controller(
        settings,
        plans=world,
        gateway=world,
        fleet=world,
        dispatcher=world,
        board=world,
        clock=world.clock,
        pause_s=0,
    )
    task = asyncio.create_task(controller.run())
    try:
        yield controller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await controller.aclose()


async def _rounds(controller: Controller, world: World, n: int, step_s: float = 2.0) -> None:
    for _ in range(n):
        world.clock.advance(step_s)
        controller.changed()
        await _settle()


async def _settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_a_new_camera_is_covered_in_two_rounds(controller: Controller, world: World) -> None:
    world.plans_now[GATE] = _plan(GATE)
    await _rounds(controller, world, 2)
    assert world.streams == {"acme.gate": "rtsp://u/"}
    assert [c.key for c in world.bridges[0]] == [GATE]
    assert world.dispatches == [GATE]
    assert world.state(GATE) == (CameraState.LIVE, "")
    assert world.statuses["acme"]["gate"].unpublished == {"lost_by_sdk": 3}


async def test_recording_settings_change_without_a_new_pull(
    controller: Controller, world: World
) -> None:
    plan = _plan(GATE)
    world.plans_now[GATE] = plan
    await _rounds(controller, world, 2)
    (before,) = world.bridges[0]
    recording = Recording(mode=RecordingMode.CONTINUOUS)
    masks = (((0.0, 0.0), (0.5, 0.0), (0.5, 0.5)),)
    camera = plan.camera.model_copy(update={"recording": recording, "masks": masks})
    world.plans_now[GATE] = plan.model_copy(update={"camera": camera, "revision": 2})
    await _rounds(controller, world, 1)
    (after,) = world.bridges[0]
    assert (after.recording, after.masks) == (recording, masks)
    assert (after.version, after.main_url) == (before.version, before.main_url)
    # Sound is another pull: the gateway is asked for it only where it is recorded.
    audible = recording.model_copy(update={"audio": True})
    camera = plan.camera.model_copy(update={"recording": audible})
    world.plans_now[GATE] = plan.model_copy(update={"camera": camera, "revision": 3})
    await _rounds(controller, world, 1)
    (loud,) = world.bridges[0]
    assert loud.main_url.get_secret_value().endswith("?sound")
    assert loud.version != after.version


async def test_a_camera_whose_url_does_not_decrypt_is_offline_and_others_go_on(
    controller: Controller, world: World
) -> None:
    yard = CameraKey("acme", "yard")
    lost = (UnreadableSecret(field="url", reason="url is encrypted with a key that is missing."),)
    plan = _plan(GATE)
    unreadable = plan.camera.model_copy(update={"url": SecretStr(""), "unreadable": lost})
    world.plans_now[GATE] = plan.model_copy(update={"camera": unreadable})
    world.plans_now[yard] = _plan(yard)
    await _rounds(controller, world, 5)
    assert world.state(GATE) == (CameraState.OFFLINE, lost[0].reason)
    assert world.state(yard) == (CameraState.LIVE, "")
    assert world.streams == {"acme.yard": "rtsp://u/"}
    assert [c.key for c in world.bridges[0]] == [yard]
    assert (world.dispatches, world.probes) == ([yard], [])
    # The key is back.
    world.plans_now[GATE] = plan
    await _rounds(controller, world, 3)
    assert world.state(GATE) == (CameraState.LIVE, "")


async def test_a_camera_that_becomes_unreadable_is_taken_from_the_gateway(
    controller: Controller, world: World
) -> None:
    """What the gateway still has of it may be what its owner has replaced."""
    plan = _plan(GATE)
    world.plans_now[GATE] = plan
    await _rounds(controller, world, 3)
    lost = (UnreadableSecret(field="substream_url", reason="gone"),)
    camera = plan.camera.model_copy(update={"unreadable": lost})
    world.plans_now[GATE] = plan.model_copy(update={"camera": camera})
    await _rounds(controller, world, 2)
    assert world.state(GATE) == (CameraState.OFFLINE, "gone")
    assert (world.streams, world.watchers) == ({}, {})


async def test_a_covered_camera_is_left_alone(controller: Controller, world: World) -> None:
    world.plans_now[GATE] = _plan(GATE)
    await _rounds(controller, world, 20)
    assert world.dispatches == [GATE]
    assert world.sent == [GATE]


async def test_a_lost_watcher_is_replaced(controller: Controller, world: World) -> None:
    world.plans_now[GATE] = _plan(GATE)
    await _rounds(controller, world, 10)
    world.watchers.clear()
    await _rounds(controller, world, 2)
    assert world.dispatches == [GATE, GATE]
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_a_refused_dispatch_is_repeated_after_its_grace(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.refuse_dispatch = True
    await _rounds(controller, world, 5)
    assert world.dispatches == [GATE]
    await _rounds(controller, world, 1)
    assert world.dispatches == [GATE, GATE]
    assert world.state(GATE) == (CameraState.DEGRADED, "no watcher is in the room yet")
    world.refuse_dispatch = False
    await _rounds(controller, world, 6)
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_a_watcher_that_hangs_is_dropped_and_replaced(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.mute_watchers = True
    await _rounds(controller, world, 3)
    assert world.drops == [GATE]
    world.mute_watchers = False
    await _rounds(controller, world, 2)
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_a_restarted_host_gets_all_plans_again(controller: Controller, world: World) -> None:
    world.plans_now[GATE] = _plan(GATE)
    await _rounds(controller, world, 10)
    world.restart_host(0)
    await _rounds(controller, world, 2)
    assert world.host_plans[0] == {GATE: 1}
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_only_changed_plans_are_sent(controller: Controller, world: World) -> None:
    other = CameraKey("globex", "gate")
    world.plans_now = {GATE: _plan(GATE), other: _plan(other)}
    await _rounds(controller, world, 3)
    world.sent.clear()
    world.plans_now[other] = _plan(other, revision=2)
    await _rounds(controller, world, 3)
    assert world.sent == [other]


async def test_a_tenant_above_its_quota_is_analysed_more_slowly_and_told_so(
    controller: Controller, world: World
) -> None:
    other = CameraKey("globex", "gate")
    yard = CameraKey("acme", "yard")
    world.plans_now = {key: _plan(key) for key in (GATE, yard, other)}
    await _rounds(controller, world, 3)
    assert world.rates == {GATE: 5.0, yard: 5.0, other: 5.0}
    world.frame_quotas = {"acme": 4}
    world.sent.clear()
    await _rounds(controller, world, 3)
    assert world.rates == {GATE: 2.0, yard: 2.0, other: 5.0}
    # The plans have the revision that they had.
    assert set(world.sent) == {GATE, yard}
    state, reason = world.state(GATE)
    assert (state, "2 frames/s are analysed in place of 5" in reason) == (CameraState.LIVE, True)
    assert world.state(other) == (CameraState.LIVE, "")
    world.frame_quotas = {}
    await _rounds(controller, world, 2)
    assert world.rates == {GATE: 5.0, yard: 5.0, other: 5.0}
    assert world.state(GATE) == (CameraState.LIVE, "")


async def test_a_camera_that_is_analysed_seldom_is_not_degraded_between_two_frames(
    controller: Controller, world: World
) -> None:
    world.frame_quotas = {"acme": 1}
    cameras = [CameraKey("acme", f"cam-{number}") for number in range(20)]
    world.plans_now = {key: _plan(key) for key in cameras}
    await _rounds(controller, world, 3)
    assert world.state(cameras[0])[0] is CameraState.LIVE
    # One frame in 20 s each: the last one is 30 s old, then 42.
    world.mute_since_us = world.clock.now_us()
    await _rounds(controller, world, 1, step_s=30)
    assert world.state(cameras[0])[0] is CameraState.LIVE
    await _rounds(controller, world, 1, step_s=12)
    assert world.state(cameras[0])[0] is CameraState.DEGRADED


async def test_a_gateway_that_lost_its_streams_is_set_up_again(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    await _rounds(controller, world, 2)
    world.streams.clear()
    await _rounds(controller, world, 1)
    assert world.streams == {"acme.gate": "rtsp://u/"}


async def test_a_changed_url_reaches_gateway_and_bridge(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    await _rounds(controller, world, 2)
    before = world.bridges[0][0].version
    world.plans_now[GATE] = _plan(GATE, revision=2, url="other")
    await _rounds(controller, world, 1)
    assert world.streams == {"acme.gate": "rtsp://other/"}
    assert world.bridges[0][0].version != before


async def test_a_removed_or_disabled_camera_leaves_nothing(
    controller: Controller, world: World
) -> None:
    other = CameraKey("acme", "yard")
    world.plans_now = {GATE: _plan(GATE), other: _plan(other)}
    await _rounds(controller, world, 3)
    del world.plans_now[other]
    world.plans_now[GATE] = _plan(GATE, revision=2, enabled=False)
    await _rounds(controller, world, 1)
    assert world.streams == {}
    assert world.bridges[0] == ()
    assert world.watchers == {}
    assert world.state(GATE) == (CameraState.OFFLINE, "switched off")
    assert set(world.statuses["acme"]) == {"gate"}
    world.plans_now.clear()
    await _rounds(controller, world, 1)
    assert world.statuses["acme"] == {}


async def test_one_bad_camera_does_not_stop_the_others(
    controller: Controller, world: World
) -> None:
    bad = CameraKey("acme", "bad")
    world.plans_now = {bad: _plan(bad), GATE: _plan(GATE)}
    world.gateway_refuses.add("acme.bad")
    await _rounds(controller, world, 3)
    assert world.state(bad) == (CameraState.OFFLINE, "the gateway does not take this URL")
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_an_unreadable_camera_is_a_state_with_a_reason_and_comes_back(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.failed[GATE] = "the stream ended"
    await _rounds(controller, world, 1)
    assert world.state(GATE) == (CameraState.OFFLINE, "the stream ended")
    await asyncio.sleep(0)  # lets the probe run that the round began
    await _rounds(controller, world, 3)
    assert world.state(GATE) == (CameraState.OFFLINE, "the gateway knows why")
    assert world.probes == ["acme.gate"]
    assert world.dispatches == []
    world.failed.clear()
    await _rounds(controller, world, 2)
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_a_dead_bridge_shows_as_connecting_and_gets_its_cameras_again(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    await _rounds(controller, world, 3)
    world.end(WorkerKind.BRIDGE, 0)
    await _rounds(controller, world, 1)
    assert world.state(GATE) == (CameraState.CONNECTING, "waiting for a bridge")
    world.start_again()
    await _rounds(controller, world, 1)
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_an_unreachable_livekit_is_survived(controller: Controller, world: World) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.livekit_away = True
    await _rounds(controller, world, 5)
    assert world.state(GATE) == (CameraState.DEGRADED, "the live room cannot be reached")
    world.livekit_away = False
    await _rounds(controller, world, 2)
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_a_new_controller_takes_over_without_disturbing(world: World) -> None:
    world.plans_now[GATE] = _plan(GATE)
    async with _running(world) as controller:
        await _rounds(controller, world, 3)
    version = world.bridges[0][0].version
    async with _running(world) as controller:
        await _rounds(controller, world, 3)
    assert world.dispatches == [GATE]
    assert world.bridges[0][0].version == version
    assert world.state(GATE)[0] is CameraState.LIVE


async def test_cameras_removed_while_the_host_was_unreachable_are_removed_later(
    world: World,
) -> None:
    """A camera goes while the controller is dead: its watcher must not stay for ever."""
    other = CameraKey("globex", "gate")
    world.plans_now = {GATE: _plan(GATE), other: _plan(other)}
    async with _running(world) as controller:
        await _rounds(controller, world, 3)
    del world.plans_now[GATE]
    async with _running(world) as controller:
        await _rounds(controller, world, 1)
    assert world.host_plans[0] == {other: 1}
    assert world.watchers.keys() == {other}


async def test_cameras_spread_over_bridges_and_hosts(controller: Controller, world: World) -> None:
    keys = [CameraKey("acme", f"c{i}") for i in range(5)]
    world.plans_now = {key: _plan(key) for key in keys}
    await _rounds(controller, world, 3)
    assert sorted(len(c) for c in world.bridges.values()) == [1, 2, 2]
    assert set(world.host_plans) == {0, 1, 2}


async def test_same_camera_name_in_two_tenants_is_two_cameras(
    controller: Controller, world: World
) -> None:
    other = GATE._replace(tenant="globex")
    world.plans_now = {GATE: _plan(GATE), other: replace_url(_plan(other), "other")}
    world.failed[other] = "the stream ended"
    await _rounds(controller, world, 3)
    assert world.state(GATE)[0] is CameraState.LIVE
    assert world.state(other)[0] is CameraState.OFFLINE


def replace_url(plan: CameraPlan, url: str) -> CameraPlan:
    camera = plan.camera.model_copy(update={"url": SecretStr(f"rtsp://{url}/")})
    return plan.model_copy(update={"camera": camera})


async def test_a_camera_that_opens_for_ever_gets_the_relays_reason_within_15_s(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.opening_since_us[GATE] = world.clock.now_us()
    world.relay_knows["acme.gate"] = CameraProblem.SILENT
    await _rounds(controller, world, 3)
    assert world.state(GATE) == (CameraState.CONNECTING, "connecting to the camera")
    for _ in range(3):
        await _rounds(controller, world, 1)
        await asyncio.sleep(0)
    reason = str(UnreadableCameraError(CameraProblem.SILENT))
    assert world.state(GATE) == (CameraState.OFFLINE, reason)
    assert world.probes == []


async def test_a_slow_camera_without_a_known_problem_keeps_connecting_and_is_not_probed(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.opening_since_us[GATE] = world.clock.now_us()
    for _ in range(30):
        await _rounds(controller, world, 1)
        await asyncio.sleep(0)
    assert world.state(GATE) == (CameraState.CONNECTING, "connecting to the camera")
    assert world.probes == []


async def test_what_the_relay_knows_needs_no_probe(controller: Controller, world: World) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.failed[GATE] = "no stream"
    world.relay_knows["acme.gate"] = CameraProblem.CREDENTIALS
    for _ in range(3):
        await _rounds(controller, world, 1)
        await asyncio.sleep(0)
    reason = str(UnreadableCameraError(CameraProblem.CREDENTIALS))
    assert world.state(GATE) == (CameraState.OFFLINE, reason)
    assert world.probes == []


async def test_a_missing_substream_is_said_while_the_camera_is_live(
    controller: Controller, world: World
) -> None:
    world.plans_now[GATE] = _plan(GATE)
    world.substreams[GATE] = StreamStatus(phase=StreamPhase.FAILED, reason="404")
    world.relay_knows["acme.gate.sub"] = CameraProblem.NOT_FOUND
    for _ in range(4):
        await _rounds(controller, world, 1)
        await asyncio.sleep(0)
    state, reason = world.state(GATE)
    assert state is CameraState.LIVE
    assert reason.startswith("The sub-stream cannot be read, so the main stream is analysed")
    assert CameraProblem.NOT_FOUND.reason in reason
    world.substreams[GATE] = StreamStatus(phase=StreamPhase.STREAMING, width=640, height=360)
    await _rounds(controller, world, 1)
    assert world.state(GATE) == (CameraState.LIVE, "")


# ---------------------------------------------------------------- nobody waits for a worker

WITH_SPARES = SETTINGS.model_copy(
    update={"controller": ControllerSettings(interval_s=60, spares=1)}
)
YARD = CameraKey("acme", "yard")


async def _both_live(controller: Controller, world: World) -> None:
    world.plans_now = {GATE: _plan(GATE), YARD: _plan(YARD)}
    await _rounds(controller, world, 3)
    assert {world.state(GATE)[0], world.state(YARD)[0]} == {CameraState.LIVE}


@pytest.mark.parametrize("kind", list(WorkerKind))
async def test_a_worker_that_starts_blinds_nobody(
    controller: Controller, world: World, kind: WorkerKind
) -> None:
    await _both_live(controller, world)
    # A third camera needs another bridge and another host, which take their time.
    world.hanging.add((kind, 1))
    other = CameraKey("globex", "gate")
    world.plans_now[other] = _plan(other)
    await _rounds(controller, world, 10)
    assert {world.state(GATE)[0], world.state(YARD)[0]} == {CameraState.LIVE}
    before = world.dispatches.count(YARD)
    del world.watchers[YARD]
    await _rounds(controller, world, 2)
    assert world.dispatches.count(YARD) == before + 1
    assert world.state(YARD)[0] is CameraState.LIVE


async def test_a_host_that_hangs_makes_no_camera_degraded_until_it_is_given_up(
    controller: Controller, world: World
) -> None:
    await _both_live(controller, world)
    world.hanging.add((WorkerKind.HOST, 0))
    await _rounds(controller, world, 8)
    assert world.state(GATE) == (CameraState.LIVE, "its agent host does not answer")


async def test_a_livekit_that_hangs_holds_up_no_status(
    controller: Controller, world: World
) -> None:
    await _both_live(controller, world)
    del world.watchers[YARD]
    world.slow_dispatch = True
    await _rounds(controller, world, 3)
    assert world.state(GATE)[0] is CameraState.LIVE
    assert world.state(YARD)[0] is CameraState.DEGRADED
    world.slow_dispatch = False


async def test_a_clock_that_is_set_back_keeps_nothing_from_being_repaired(
    controller: Controller, world: World
) -> None:
    await _both_live(controller, world)
    world.refuse_dispatch = True  # the watcher that was asked for does not come
    del world.watchers[YARD]
    await _rounds(controller, world, 2)
    before = world.dispatches.count(YARD)
    world.clock.set_utc(-3600)
    world.refuse_dispatch = False
    await _rounds(controller, world, 4)
    assert world.dispatches.count(YARD) == before + 1
    assert world.state(YARD)[0] is CameraState.LIVE


async def test_records_that_are_away_keep_nothing_from_being_repaired(
    controller: Controller, world: World
) -> None:
    await _both_live(controller, world)
    world.records_away = world.board_away = world.gateway_away = True
    world.watchers.clear()
    await _rounds(controller, world, 3)
    assert world.dispatches.count(GATE) == world.dispatches.count(YARD) == 2
    assert controller.counts["failed_steps"] > 0
    assert {c.key for c in world.bridges[0]} == {GATE, YARD}


# ---------------------------------------------------------------- spares


async def test_a_spare_bridge_takes_over_at_once_and_the_dead_one_becomes_the_spare(
    world: World,
) -> None:
    async with _running(world, WITH_SPARES) as controller:
        await _both_live(controller, world)
        assert (world.running, world.bridges[1]) == ((2, 2), ())
        world.end(WorkerKind.BRIDGE, 0)
        await _settle()  # nobody asked: the end of the process is noticed
        assert {c.key for c in world.bridges[1]} == {GATE, YARD}
        world.start_again()
        await _rounds(controller, world, 3)
        assert world.bridges[0] == ()
        assert {c.key for c in world.bridges[1]} == {GATE, YARD}
        assert {world.state(GATE)[0], world.state(YARD)[0]} == {CameraState.LIVE}


async def test_watchers_of_a_dead_host_are_dispatched_at_once_even_those_on_their_way(
    world: World,
) -> None:
    async with _running(world, WITH_SPARES) as controller:
        await _both_live(controller, world)
        world.refuse_dispatch = True
        del world.watchers[YARD]
        await _rounds(controller, world, 1)
        assert world.dispatches == [GATE, YARD, YARD]
        world.refuse_dispatch = False
        world.clock.advance(2.5)
        world.end(WorkerKind.HOST, 0)
        world.watchers.clear()
        await _settle()
        assert sorted(world.dispatches[3:]) == [GATE, YARD]
        assert world.watchers == {GATE: 1, YARD: 1}
        await _rounds(controller, world, 1)
        assert {world.state(GATE)[0], world.state(YARD)[0]} == {CameraState.LIVE}


async def test_a_new_controller_leaves_cameras_with_the_bridge_that_took_over(
    world: World,
) -> None:
    async with _running(world, WITH_SPARES) as controller:
        await _both_live(controller, world)
        world.end(WorkerKind.BRIDGE, 0)
        await _settle()
    world.start_again()
    world.gateway_away = True
    world.moves.clear()
    async with _running(world, WITH_SPARES) as controller:
        await _rounds(controller, world, 3)
        assert {c.key for c in world.bridges[1]} == {GATE, YARD}
        assert {world.state(GATE)[0], world.state(YARD)[0]} == {CameraState.LIVE}
    assert {index for index, cameras in world.moves if cameras} == {1}
    assert all(len(cameras) == 2 for index, cameras in world.moves if index == 1)
    assert world.dispatches == [GATE, YARD]


async def test_a_host_of_unknown_content_is_asked_before_anybody_is_dispatched(
    world: World,
) -> None:
    async with _running(world) as controller:
        await _both_live(controller, world)
    world.hanging.add((WorkerKind.HOST, 0))
    async with _running(world) as controller:
        await _rounds(controller, world, 3)
    assert world.dispatches == [GATE, YARD]


async def test_nobody_is_dispatched_before_there_is_a_host(
    controller: Controller, world: World
) -> None:
    """LiveKit loses such a dispatch, and its grace would have to pass."""
    world.plans_now[GATE] = _plan(GATE)
    world.end(WorkerKind.HOST, 0)
    await _rounds(controller, world, 3)
    assert world.dispatches == []
    world.start_again()
    await _rounds(controller, world, 2)
    assert world.dispatches == [GATE]
    assert world.state(GATE)[0] is CameraState.LIVE
