"""Whatever is killed, every camera is live again by itself, and no alarm is lost.

The tests share one running Atalaia and go one after the other; each leaves it well.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from typing import Any

import pytest

from cluster.controller.fleet import RayFleet
from cluster.demo.expected import expected_alarms
from cluster.demo.scene import Stage
from pipelines.domain import CameraKey
from tests.chaos.world import CAMERAS, CAMERAS_PER_HOST, ROLES, Probe, World, now_us, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

FIRST = CameraKey(ROLES[0].tenant, ROLES[0].id)
OUTAGES = 4
"""Kills of Valkey in a row: its supervisor waits longer each time, and allows five in a minute."""


async def test_every_camera_is_live(world: World) -> None:
    await until("live", world.all_well(0))


@pytest.mark.parametrize("kind", ["HostActor", "BridgeActor"])
async def test_a_worker_is_killed(world: World, kind: str) -> None:
    before = now_us()
    victim = await world.busy_worker(kind)
    others = {process.pid for process in world.actor_processes(kind)} - {victim.pid}
    await world.kill_process(kind, victim)
    world.forgiven |= world.raised_ids(stored_from_us=before - 1_000_000)
    await until("live again", world.all_well(now_us()))
    await until("boxes", world.boxes_arrive(FIRST))
    if kind == "BridgeActor":
        # Not the one that Ray started in its place: the spare that was there before.
        assert (await world.busy_worker(kind)).pid in others


async def test_the_controller_is_killed(world: World) -> None:
    """The next one takes over what it finds, and ends a worker that nobody needs any more."""
    needed = 1 + world.settings.controller.spares
    await RayFleet(world.settings).resize(bridges=needed + 1, hosts=needed)
    await until("another bridge", _workers(world, "BridgeActor", needed + 1))
    await world.kill_actor("ControllerService")
    await until("no more than needed", _workers(world, "BridgeActor", needed))
    await until("live again", world.all_well(now_us()))


async def test_a_camera_goes_while_the_controller_is_dead(world: World) -> None:
    """Nobody was there to tell its watcher and its bridge to let go."""
    key = CameraKey("acme", "short-lived")
    async with world.client("acme") as client:
        await _add(world, client, key.camera)
        await until("live", _state_is(world, key, "live"))
        victim = world.actor_process("ControllerService")
        victim.suspend()
        try:
            (await client.delete(f"/v1/cameras/{key.camera}")).raise_for_status()
        finally:
            victim.kill()
    await until("live again, without it", world.all_well(now_us()))


@pytest.mark.parametrize("part", ["livekit", "go2rtc"])
async def test_a_server_is_killed(world: World, part: str) -> None:
    await world.kill_server(part)
    await until("live again", world.all_well(now_us()))
    await until("boxes", world.boxes_arrive(FIRST))
    # Not only those that were there: another camera is carried and watched too.
    key = CameraKey("globex", f"after-{part}")
    async with world.client(key.tenant) as client:
        await _add(world, client, key.camera)
        await until("the other one live", _state_is(world, key, "live"))
        (await client.delete(f"/v1/cameras/{key.camera}")).raise_for_status()
    await until("only the others", world.all_well(now_us()))


async def test_valkey_is_killed_while_alarms_are_raised(world: World) -> None:
    """Alarms that were raised while it was away wait on disk; all of them reach the records."""
    spooled = await world.count("alarms_spooled")
    await _shortly_before_alarms(world)
    # Silent first, so that alarms are raised while it does not answer; then dead, again and again.
    world.signal_server("valkey", signal.SIGSTOP)

    async def on_disk() -> str:
        return "" if await world.count("alarms_spooled") > spooled else "none spooled"

    await until("alarms on the disk", on_disk)
    for _ in range(OUTAGES):
        await world.kill_server("valkey")
    await until("live again", world.all_well(now_us()))
    await until("every alarm in the records", _recorded(world))

    async def nothing_waits() -> str:
        pending = await world.count("alarms_pending")
        return f"{pending} still wait" if pending else ""

    await until("an empty spool", nothing_waits)
    for what in ("alarms_lost", "alarms_refused", "alarms_damaged"):
        assert await world.count(what) == 0, what


async def test_a_camera_is_away_for_ten_seconds(world: World) -> None:
    cameras, channel = world.session.cameras.server, f"{FIRST.tenant}-{FIRST.camera}"
    cameras.set_online(channel, False)
    left = asyncio.get_running_loop().time()
    try:
        await until("offline", _state_is(world, FIRST, "offline"))
        states = await world.states()
        assert states[FIRST]["reason"]
        assert all(c["state"] == "live" for key, c in states.items() if key != FIRST)
        await asyncio.sleep(max(0.0, left + 10.0 - asyncio.get_running_loop().time()))
    finally:
        cameras.set_online(channel, True)
    await until("live again", world.all_well(now_us()))


async def test_quick_cycles_of_a_camera_leave_nothing(world: World) -> None:
    """Twenty times added and removed, at every stage of its coming up: no stream, no participant,
    no watcher is left of any of them."""
    async with world.client("globex") as client:
        for number, pause_s in zip(range(20), itertools.cycle((0.0, 0.3, 1.0, 2.5)), strict=False):
            name = f"cycle-{number % 3}"
            await _add(world, client, name)
            await asyncio.sleep(pause_s)
            (await client.delete(f"/v1/cameras/{name}")).raise_for_status()
    await until("only the others", world.all_well(now_us()))
    assert all(host.revisions.keys() == CAMERAS for host in await world.hosts())
    # It stays so: nothing that was under way comes after.
    await asyncio.sleep(5.0)
    await until("only the others", world.all_well(now_us()))


async def test_a_burst_of_cameras_gets_another_host(world: World) -> None:
    """More cameras at once than one host takes: all are watched, none of the dispatches is lost.
    When they go, so does the other host."""
    names = [f"burst-{number}" for number in range(CAMERAS_PER_HOST)]
    needed = 1 + world.settings.controller.spares
    async with world.client("acme") as client:
        for name in names:
            await _add(world, client, name, detect_fps=1.0)

        async def live() -> str:
            states = await world.states()
            return str(
                {k.room: c["reason"] for k, c in states.items() if c["state"] != "live"} or ""
            )

        await until("all live", live)
        await until("another host", _workers(world, "HostActor", needed + 1))
        for name in names:
            (await client.delete(f"/v1/cameras/{name}")).raise_for_status()

    await until("no more than needed", _workers(world, "HostActor", needed))
    await until("only the others", world.all_well(now_us()))


async def test_no_alarm_was_lost_in_all_this(world: World) -> None:
    await until("every alarm in the records", _recorded(world))


def _recorded(world: World) -> Probe:
    """Whether the records hold every alarm that was raised until now. One whose watcher died with
    it does not count: between its picture and its sending there are some milliseconds."""
    raised = world.raised_ids()
    assert raised

    async def probe() -> str:
        missing = raised - world.forgiven - await world.alarm_ids()
        return f"missing in the records: {missing}" if missing else ""

    return probe


async def _add(world: World, client: Any, name: str, **fields: object) -> None:
    """A camera that shows what the first one shows."""
    role = ROLES[0]
    url = world.session.cameras._url(role, world.session.cameras.server.port)
    body = {"id": name, "name": name, "url": url.get_secret_value(), **fields}
    (await client.post("/v1/cameras", json=body)).raise_for_status()


def _workers(world: World, kind: str, count: int) -> Probe:
    async def probe() -> str:
        found = len(world.actor_processes(kind))
        return "" if found == count else f"{found} of {kind}"

    return probe


def _state_is(world: World, key: CameraKey, state: str) -> Probe:
    async def probe() -> str:
        camera = (await world.states()).get(key)
        return "" if camera and camera["state"] == state else f"{camera}"

    return probe


async def _shortly_before_alarms(world: World) -> None:
    """Wait for the moment of the loop from which most alarms come within five seconds."""
    scenes = [(role.scene, role.rules) for role in ROLES if role.scene is not None]
    loop_s = scenes[0][0].duration_s
    times = [
        alarm.at_s
        for scene, rules in scenes
        for alarm in expected_alarms(Stage(scene, (640, 360)).truth(), rules)
    ]
    best = max(times, key=lambda start: sum(0 <= at - start < 5.0 for at in times))
    position = (now_us() - world.session.cameras.started_us) / 1e6 % loop_s
    await asyncio.sleep((best - 1.0 - position) % loop_s)
