"""The controller with real servers: states with helpful reasons, and no repeated work."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from livekit import api, rtc
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

from cluster.bridge.bridge import Bridge
from cluster.controller.dispatch import LiveKitDispatcher
from cluster.core.names import AGENT_NAME, WATCHER_IDENTITY
from cluster.local.lifecycle import State
from cluster.stores.db import CameraChanges
from pipelines.domain import CameraKey, Recording, RecordingMode, RecordingState
from pipelines.errors import UnavailableError
from tests.integration.bridge.world import Servers, state_of, streaming, until
from tests.integration.controller.world import site
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip

GATE = CameraKey("acme", "gate")
PASSWORD = "s3cret@#/ "


async def test_a_wrong_password_is_reported_and_correcting_it_recovers(
    servers: Servers, bridge: Bridge, redis_client: Redis, clip: Clip
) -> None:
    async with (
        RtspCamera(clip, username="admin", password=PASSWORD).serving() as camera,
        site(servers, bridge, redis_client) as here,
    ):
        await here.add(GATE, camera.url("admin:wr0ng-one"))
        async with here.controller() as controller:
            reason = await here.state(GATE, "offline", "password")
            assert "wr0ng-one" not in reason
            change = CameraChanges(url=SecretStr(camera.url("admin:s3cret%40%23%2F%20")))
            await here.database.tenant(GATE.tenant).update_camera(GATE.camera, change)
            controller.changed()
            # It is carried, and nobody watches it here: said so, once the grace is over.
            await here.state(GATE, "degraded", "no watcher")
            assert streaming(bridge, GATE)


async def test_a_camera_whose_url_does_not_decrypt_disturbs_no_other(
    servers: Servers, bridge: Bridge, redis_client: Redis, clip: Clip
) -> None:
    yard = CameraKey("acme", "yard")
    async with (
        RtspCamera(clip).serving() as camera,
        site(servers, bridge, redis_client) as here,
    ):
        await here.add(GATE, camera.url())
        await here.add(yard, camera.url())
        async with here.database._engine.begin() as connection:
            theirs = "(SELECT url FROM cameras WHERE id = 'yard')"
            await connection.execute(text(f"UPDATE cameras SET url = {theirs} WHERE id = 'gate'"))
        async with here.controller() as controller:
            reason = await here.state(GATE, "offline", "url does not decrypt")
            assert "enc1" not in reason
            await here.state(yard, "degraded", "no watcher")
            assert streaming(bridge, yard)
            assert await servers.gateway.names() == {yard.room}
            units = state_of(bridge, yard).main.units
            change = CameraChanges(url=SecretStr(camera.url()))
            await here.database.tenant("acme").update_camera("gate", change)
            controller.changed()
            await here.state(GATE, "degraded", "no watcher")
            assert streaming(bridge, GATE)
            assert state_of(bridge, yard).main.units > units


async def test_a_new_controller_disturbs_nothing(
    servers: Servers, bridge: Bridge, redis_client: Redis, clip: Clip
) -> None:
    """It finds cameras on gateway and bridge that an earlier controller put there."""
    async with (
        RtspCamera(clip).serving() as camera,
        site(servers, bridge, redis_client) as here,
    ):
        await here.add(GATE, camera.url())
        async with here.controller():
            await until("carried", lambda: bridge.status().cameras and streaming(bridge, GATE))
        units = state_of(bridge, GATE).main.units
        async with here.controller():
            await here.state(GATE, "connecting")
            await here.state(GATE, "degraded", "no watcher")
        assert state_of(bridge, GATE).main.units > units
        assert state_of(bridge, GATE).main.reconnects == 0
        assert camera.played == 1


async def test_a_gateway_that_lost_its_streams_gets_them_again(
    servers: Servers, bridge: Bridge, redis_client: Redis, clip: Clip
) -> None:
    async with (
        RtspCamera(clip).serving() as camera,
        site(servers, bridge, redis_client) as here,
    ):
        await here.add(GATE, camera.url())
        async with here.controller():
            await until("carried", lambda: bridge.status().cameras and streaming(bridge, GATE))
            pid = servers.go2rtc.status().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until("server lost", lambda: servers.go2rtc.status().restarts == 1)
            await until("server back", lambda: servers.go2rtc.state is State.READY)
            units = state_of(bridge, GATE).main.units
            await until("carried again", lambda: state_of(bridge, GATE).main.units > units + 25)
            assert await servers.gateway.names() == {GATE.room}


async def test_a_removed_camera_leaves_nothing_behind(
    servers: Servers, bridge: Bridge, redis_client: Redis, clip: Clip
) -> None:
    async with (
        RtspCamera(clip).serving() as camera,
        site(servers, bridge, redis_client) as here,
    ):
        await here.add(GATE, camera.url())
        async with here.controller() as controller:
            await until("carried", lambda: bridge.status().cameras and streaming(bridge, GATE))
            acme = here.database.tenant(GATE.tenant)
            await acme.update_camera(GATE.camera, CameraChanges(enabled=False))
            controller.changed()
            await here.state(GATE, "offline", "switched off")
            await until("let go", lambda: camera.playing == 0)
            assert await servers.gateway.names() == set()
            await acme.update_camera(GATE.camera, CameraChanges(enabled=True))
            controller.changed()
            await until("carried", lambda: bridge.status().cameras and streaming(bridge, GATE))
            await acme.remove_camera(GATE.camera)
            controller.changed()
            await until("let go", lambda: camera.playing == 0 and not bridge.status().cameras)
        assert await here.board.get_all(GATE.tenant) == {}
        assert await servers.gateway.names() == set()


async def test_dispatches_do_not_accumulate(servers: Servers) -> None:
    """LiveKit would send one watcher per dispatch, and they would evict each other."""
    livekit = servers.settings.livekit
    dispatcher = LiveKitDispatcher(livekit)
    secret = livekit.api_secret.get_secret_value()
    client = api.LiveKitAPI(livekit.url, livekit.api_key, secret)
    try:
        await client.room.create_room(api.CreateRoomRequest(name=GATE.room))
        for _ in range(3):
            await dispatcher.dispatch(GATE)
        # LiveKit adds one of its own to each room, for agents without a name.
        found = [d.agent_name for d in await client.agent_dispatch.list_dispatch(GATE.room)]
        assert found.count(AGENT_NAME) == 1
    finally:
        await client.aclose()
        await dispatcher.aclose()


async def test_a_watcher_that_no_host_has_is_removed_before_another_is_dispatched(
    servers: Servers,
) -> None:
    """Else LiveKit would end the new one's job when the dead one goes."""
    livekit = servers.settings.livekit
    token = api.AccessToken(livekit.api_key, livekit.api_secret.get_secret_value())
    grants = api.VideoGrants(room_join=True, room=GATE.room, agent=True)
    dead, gone = rtc.Room(), asyncio.Event()
    dead.on("disconnected", lambda *_: gone.set())
    dispatcher = LiveKitDispatcher(livekit)
    try:
        await dead.connect(
            livekit.url, token.with_identity(WATCHER_IDENTITY).with_grants(grants).to_jwt()
        )
        await dispatcher.dispatch(GATE)
        async with asyncio.timeout(60.0):
            await gone.wait()
    finally:
        await dispatcher.aclose()
        await dead.disconnect()


async def test_an_unreachable_livekit_raises_our_error(servers: Servers) -> None:
    await servers.livekit.aclose()
    dispatcher = LiveKitDispatcher(servers.settings.livekit)
    try:
        with pytest.raises(UnavailableError, match="LiveKit"):
            await dispatcher.dispatch(GATE)
    finally:
        await dispatcher.aclose()


async def test_a_new_recording_mode_takes_effect_within_two_seconds_and_is_reported(
    servers: Servers, bridge: Bridge, redis_client: Redis, clip: Clip
) -> None:
    async with (
        RtspCamera(clip).serving() as camera,
        site(servers, bridge, redis_client) as here,
    ):
        await here.add(GATE, camera.url())
        records = here.database.tenant(GATE.tenant)
        off = CameraChanges(recording=Recording(mode=RecordingMode.OFF))
        await records.update_camera(GATE.camera, off)
        async with here.controller() as controller:
            await until("carried", lambda: bridge.status().cameras and streaming(bridge, GATE))
            assert state_of(bridge, GATE).recording.state is RecordingState.OFF
            on = CameraChanges(recording=Recording(mode=RecordingMode.CONTINUOUS))
            await records.update_camera(GATE.camera, on)
            controller.changed()
            # The camera sends a key frame each second.
            await until(
                "recording",
                lambda: state_of(bridge, GATE).recording.state is RecordingState.RECORDING,
                2.0,
            )
            for _ in range(100):
                status = (await here.board.get_all("acme"))["gate"]
                if status.recording and status.recording.state is RecordingState.RECORDING:
                    break
                await asyncio.sleep(0.1)
            else:
                pytest.fail(f"not told: {status}")
            await records.update_camera(GATE.camera, off)
            controller.changed()
            await until(
                "off", lambda: state_of(bridge, GATE).recording.state is RecordingState.OFF, 2.0
            )
        assert camera.played == 1
        assert state_of(bridge, GATE).main.reconnects == 0
